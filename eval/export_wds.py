"""Placeholder."""


def export_wds(data: str, output: str) -> int:
    """Write a data set in CLIP_benchmark's layout."""
    raise NotImplementedError
