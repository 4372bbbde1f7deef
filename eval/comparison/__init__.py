"""`python -m eval compare`: two checkpoints, sample by sample."""
