"""What a comparison of two checkpoints is asked for, and what it says."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.comparison.flips import Flips
from eval.stored_results import Result
from vlp.metrics.bootstrap import RESAMPLES
from vlp.metrics.outcomes import Difference


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to compare.

    Args:
        output: file for the comparison, .html with pictures or .md.
        task: of this task alone.
        dataset: on this data set alone.
        metrics: main, of each task its main metric, or all.
        flips: samples to show each way, of those on which one is right and the other is not.
        seed: of the bootstrap.
    """

    output: str | None = None
    task: str | None = None
    dataset: str | None = None
    metrics: str = "main"
    flips: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.metrics not in ("main", "all"):
            raise ValueError(f"metrics {self.metrics!r}: choices are main, all")
        if self.output is not None and Path(self.output).suffix not in (".html", ".md"):
            raise ValueError(f"output {self.output!r}: expected a name ending in .html or .md")
        for name in ("flips", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of both."""

    metric: str
    values: tuple[float, float]  # A, B
    difference: Difference
    above_chance: tuple[float | None, float | None]  # (value - chance) / (1 - chance)
    discordant: int | None  # samples on which the two differ
    adjusted: float | None = None  # p-value after Holm, over all rows


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One benchmark."""

    title: str
    a: Result
    b: Result
    rows: list[Row]
    flips: Flips  # of the main metric


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A benchmark whose two results may not be compared."""

    title: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that two checkpoints have in common."""

    a: str
    b: str
    pairs: list[Pair]
    refused: list[Refused]
    alone: dict[str, list[str]]  # benchmarks that only A, only B has
    seed: int
    resamples: int = RESAMPLES


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of m tests, which hold the family-wise error rate (Holm 1979).

    In rising order the i-th (from 0) is the largest of (m - j) p_j for j <= i, at most 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    rising = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(rising, 1.0)
    return [float(value) for value in adjusted]
