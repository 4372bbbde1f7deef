"""The same global batch gives the same gradients on any number of ranks, in any number of passes.

For every objective, and for every parameter, the temperature included.
"""

import subprocess
import sys

import pytest
import torch

from tests.contracts.gradients import mixtures

WORLDS = (1, 2, 3)
MICRO = (None, 1, 3, 5)


@pytest.fixture(scope="session")
def computed(tiny_arch, tmp_path_factory):
    """{world: {(objective, micro_batch): {parameter: gradient}}} from real processes."""
    folder = tmp_path_factory.mktemp("gradients")
    found = {}
    for world in WORLDS:
        path = folder / f"{world}.pt"
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={world}",
            "-m",
            "tests.contracts.gradients",
            tiny_arch,
            str(path),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        found[world] = torch.load(path, weights_only=True)
    return found


@pytest.mark.parametrize("micro", MICRO)
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", mixtures())
def test_gradients_do_not_depend_on_the_layout(computed, name, world, micro):
    reference = computed[1][(name, None)]
    found = computed[world][(name, micro)]
    assert found.keys() == reference.keys()
    assert "model.clip.logit_scale" in reference
    for parameter, expected in reference.items():
        scale = expected.abs().max()
        assert scale > 0, parameter
        error = (found[parameter] - expected).abs().max() / scale
        assert error <= 1e-5, (parameter, float(error))
