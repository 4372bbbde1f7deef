"""Placeholder."""


def compare(a: str, b: str) -> int:
    """Compare two checkpoints on what both were evaluated on."""
    raise NotImplementedError
