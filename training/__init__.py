"""Pretraining, run from the repository's root: `python -m training.train`."""

import os

# Before torch loads OpenMP: by default its threads spin while they wait, which on a CPU that also
# decodes pictures makes a step several times slower (measured on 2 busy cores: 3.5 s and 1.1 s).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
