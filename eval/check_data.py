"""Placeholder."""


def check_data(data: str) -> int:
    """Say what a folder is, and what is wrong with it."""
    raise NotImplementedError
