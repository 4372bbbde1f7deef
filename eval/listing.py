"""Placeholder."""


def list_tasks() -> int:
    """List the tasks and the known benchmarks."""
    raise NotImplementedError
