"""Further data sets that a task compares the first with."""

from collections.abc import Sequence

from eval.datasets.dataset import EvalDataset
from eval.datasets.opening import open_dataset


def open_others(
    option: str, paths: Sequence[str], dataset: EvalDataset, limit: int | None
) -> dict[str, EvalDataset]:
    """The sets at `paths` by their names.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be used, comes twice, or is the first one.
    """
    found: dict[str, EvalDataset] = {}
    for path in paths:
        other = open_dataset(path).limited(limit)
        if other.name in found or other.fingerprint == dataset.fingerprint:
            raise ValueError(f"{option} {path}: the set {other.name} is there already")
        found[other.name] = other
    return found
