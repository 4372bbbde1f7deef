"""What each sample contributed to a score: enough for its interval and for a paired comparison.

Two models evaluated on the same samples give outcomes of the same units, so their difference can be
resampled unit by unit, which is far narrower than the two intervals side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vlp.metrics import bootstrap
from vlp.metrics.bootstrap import Interval
from vlp.metrics.multilabel import mean_average_precision
from vlp.metrics.statistics import BIASED, STATISTICS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """sum(sums) / sum(counts) over n units; the mean of single samples has counts of one.

    The unit is what was drawn independently: a picture, with all its captions.
    """

    sums: Floats  # [n]
    counts: Floats  # [n]
    hits: bool = False  # whether observations are right or wrong; else they are any quantity

    @property
    def value(self) -> float:
        return float(self.sums.sum() / self.counts.sum())


@dataclass(frozen=True)
class ClassMean:
    """Mean over the classes that occur of the share of their n samples that is right."""

    labels: NDArray[np.int64]  # [n]
    correct: NDArray[np.bool_]  # [n]

    @property
    def value(self) -> float:
        totals = np.bincount(self.labels)
        hits = np.bincount(self.labels, self.correct.astype(np.float64))
        return float((hits[totals > 0] / totals[totals > 0]).mean())


@dataclass(frozen=True)
class Median:
    """Median of m values that belong to n units."""

    values: NDArray[np.int64]  # [m]
    units: NDArray[np.int64]  # [m], in 0..n-1, each with a value

    @property
    def value(self) -> float:
        return float(np.median(self.values))


@dataclass(frozen=True)
class Linear:
    """A weighted sum of ratios over the same units, such as a sum of recalls."""

    weights: Floats  # [k]
    sums: Floats  # [k, n]
    counts: Floats  # [k, n]

    @property
    def value(self) -> float:
        return float(self.weights @ (self.sums.sum(1) / self.counts.sum(1)))


@dataclass(frozen=True)
class MeanAveragePrecision:
    """Mean over classes of the average precision of n pictures."""

    scores: NDArray[np.float32]  # [n, C]
    labels: NDArray[np.bool_]  # [n, C]

    @property
    def value(self) -> float:
        return mean_average_precision(self.scores, self.labels)


@dataclass(frozen=True)
class Computed:
    """A statistic of the whole set, which is computed anew for every resample."""

    statistic: str  # one of `STATISTICS`
    columns: tuple[NDArray[np.generic], ...]  # [m, ...] each, its arguments
    units: NDArray[np.int64] | None = None  # [m], of each row; None: each row is one

    @property
    def value(self) -> float:
        return STATISTICS[self.statistic](*self.columns)


Outcome = Ratio | ClassMean | Median | Linear | MeanAveragePrecision | Computed
# what two paired outcomes have in common besides the number of their units
_SHARED = MappingProxyType(
    {
        ClassMean.__name__: ("labels",),
        MeanAveragePrecision.__name__: ("labels",),
        Median.__name__: ("units",),
        Linear.__name__: ("weights",),
        Computed.__name__: ("statistic", "units"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A - B on the same samples."""

    value: float
    interval: Interval | None  # 95 %
    p: float | None  # of no difference
    test: str  # "McNemar exact" or "bootstrap"


def mean_of(values: NDArray[np.generic]) -> Ratio:
    """The mean of single samples [n]."""
    return Ratio(values.astype(np.float64), np.ones(len(values)), hits=values.dtype.kind == "b")


def combined(weights: Sequence[float], ratios: Sequence[Ratio]) -> Linear:
    """The weighted sum of ratios over the same units."""
    sums = np.stack([ratio.sums for ratio in ratios])
    return Linear(np.array(weights), sums, np.stack([ratio.counts for ratio in ratios]))


def clustered(values: NDArray[np.generic], units: NDArray[np.int64], n: int) -> Ratio:
    """The mean of values [m] that belong to n units [m]; a unit without values counts nothing."""
    sums = np.bincount(units, values.astype(np.float64), n).astype(np.float64)
    counts = np.bincount(units, minlength=n).astype(np.float64)
    return Ratio(sums, counts, hits=values.dtype.kind == "b")


def interval(outcome: Outcome, *, seed: int = 0) -> Interval | None:
    """95 % interval, which holds the value; None for fewer than two units.

    Wilson's for single samples that are right or wrong, as no resample of 15 right ones has a wrong
    one; else that of the bootstrap.
    """
    if is_binary(outcome) and outcome.hits:
        return _wilson(outcome.sums[outcome.counts > 0])
    drawn = distribution(outcome, seed=seed)
    if drawn is None:
        return None
    low, high = bootstrap.percentiles(drawn)
    return min(low, outcome.value), max(high, outcome.value)


def distribution(outcome: Outcome, *, seed: int = 0) -> Floats | None:
    """The score on each of the resamples, [R], the same resamples for equal n and seed."""
    match outcome:
        case Ratio():
            return bootstrap.distribution_of_ratio(outcome.sums, outcome.counts, seed=seed)
        case ClassMean():
            return bootstrap.distribution_of_class_mean(outcome.labels, outcome.correct, seed=seed)
        case Median():
            return bootstrap.distribution_of_median(outcome.values, outcome.units, seed=seed)
        case Linear():
            return bootstrap.distribution_of_sum(
                outcome.weights, outcome.sums, outcome.counts, seed=seed
            )
        case MeanAveragePrecision():
            return bootstrap.distribution_of_average_precision(
                outcome.scores, outcome.labels, seed=seed
            )
        case Computed():
            drawn = bootstrap.distribution_of_statistic(
                STATISTICS[outcome.statistic], outcome.columns, outcome.units, seed=seed
            )
            if drawn is None or outcome.statistic not in BIASED:
                return drawn
            return bootstrap.reflected(drawn, outcome.value)


def compare(one: Outcome, other: Outcome, *, seed: int = 0) -> Difference:
    """Paired difference of two models on the same samples.

    For single samples that are right or wrong the p-value is McNemar's, exact (binomial on those
    on which the two differ); else that of the bootstrap, twice the smaller tail.

    Raises:
        ValueError: outcomes of another kind, of other units, or of another statistic.
    """
    _check_paired(one, other)
    drawn = _drawn_difference(one, other, seed)
    value = one.value - other.value
    if drawn is None or not len(drawn):
        return Difference(value=value, interval=None, p=None, test="none")
    p, test = _p_value(one, other, drawn)
    return Difference(value=value, interval=bootstrap.percentiles(drawn), p=p, test=test)


def is_binary(outcome: Outcome) -> TypeGuard[Ratio]:
    """Whether the units that have observations are single samples, each right or wrong."""
    return (
        isinstance(outcome, Ratio)
        and bool(np.isin(outcome.counts, (0, 1)).all())
        and bool(np.isin(outcome.sums, (0, 1)).all())
    )


def _drawn_difference(one: Outcome, other: Outcome, seed: int) -> Floats | None:
    """The difference on each of the resamples on which both are defined."""
    if isinstance(one, Ratio | Linear) and isinstance(other, Ratio | Linear):
        # as one sum, since what is resampled are the units that either has observations of; ratio
        # by ratio, so that equal ones leave exactly nothing
        first, second = _linear(one), _linear(other)
        drawn = bootstrap.distribution_of_sum(
            np.stack([first.weights, -second.weights], 1).ravel(),
            np.stack([first.sums, second.sums], 1).reshape(-1, first.sums.shape[1]),
            np.stack([first.counts, second.counts], 1).reshape(-1, first.sums.shape[1]),
            seed=seed,
        )
    else:
        parts = distribution(one, seed=seed), distribution(other, seed=seed)
        drawn = None if parts[0] is None or parts[1] is None else parts[0] - parts[1]
    return None if drawn is None else drawn[np.isfinite(drawn)]


def _same_samples(one: Ratio, other: Ratio) -> bool:
    return np.array_equal(one.counts, other.counts)


def _wilson(hits: Floats) -> Interval | None:
    """Of n samples, 0 or 1 each (Wilson 1927)."""
    if len(hits) < 2:
        return None
    found = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def _linear(outcome: Ratio | Linear) -> Linear:
    return combined([1.0], [outcome]) if isinstance(outcome, Ratio) else outcome


def _p_value(one: Outcome, other: Outcome, drawn: Floats) -> tuple[float, str]:
    same = isinstance(one, Ratio) and isinstance(other, Ratio) and _same_samples(one, other)
    if same and is_binary(one) and is_binary(other):
        won = int(((one.sums == 1) & (other.sums == 0)).sum())
        lost = int(((one.sums == 0) & (other.sums == 1)).sum())
        if won + lost == 0:
            return 1.0, "McNemar exact"
        return float(stats.binomtest(won, won + lost).pvalue), "McNemar exact"
    # one more on each side: a bootstrap of R resamples cannot tell less than 1 / R from nothing
    low, high = (1 + (drawn <= 0).sum()), (1 + (drawn >= 0).sum())
    return float(min(1.0, 2 * min(low, high) / (1 + len(drawn)))), "bootstrap"


def _check_paired(one: Outcome, other: Outcome) -> None:
    kinds = type(one).__name__, type(other).__name__
    if kinds[0] != kinds[1] or _units(one) != _units(other):
        raise ValueError(
            f"outcomes are not paired: {kinds[0]} of {_units(one)} and {kinds[1]} of "
            f"{_units(other)} units"
        )
    for name in _SHARED.get(kinds[0], ()):
        if not np.array_equal(getattr(one, name), getattr(other, name)):
            raise ValueError(f"outcomes are not paired: {kinds[0]} of other {name}")


def _units(outcome: Outcome) -> tuple[int, ...]:
    match outcome:
        case Ratio():
            return (len(outcome.sums),)
        case ClassMean():
            return (len(outcome.labels),)
        case Median():
            return len(outcome.values), int(outcome.units.max()) + 1
        case Linear():
            return outcome.sums.shape
        case MeanAveragePrecision():
            return outcome.scores.shape
        case Computed():
            return (len(outcome.columns[0]),)
