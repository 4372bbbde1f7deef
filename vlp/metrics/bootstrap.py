"""Bootstrap distributions and 95 % intervals, seeded.

What is resampled is the unit that was drawn independently: a picture, together with all its
captions. Resampling captions one by one would treat five descriptions of one photo as five
independent observations and give intervals that are too narrow.

Percentile, not BCa: BCa divides by the spread of a jackknife and is not defined where all outcomes
are equal, which is the usual case early in training. A minimum over groups and a mean of absolute
differences are biased, the resamples a second time in the same direction: those are reflected at
the score (Davison & Hinkley 1997, section 5.2, the basic bootstrap), which takes the bias out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlp.metrics.multilabel import falling

Interval = tuple[float, float]
Floats = NDArray[np.float64]
RESAMPLES = 1000
_CELLS = 1 << 22  # resampled values held at a time: 32 MB


def percentiles(drawn: Floats) -> Interval:
    """The 95 % interval of a bootstrap distribution [R]."""
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def reflected(drawn: Floats, value: float) -> Floats:
    """The resamples of a share [R] on the other side of its value, within [0, 1]."""
    return np.clip(2 * value - drawn, 0.0, 1.0)


def distribution_of_ratio(sums: Floats, counts: Floats, *, seed: int = 0) -> Floats | None:
    """sum(sums) / sum(counts) over resampled units, [R]; None for fewer than two units.

    Args:
        sums: [n], the sum of a quantity within each unit (a picture).
        counts: [n], the number of observations in each; units without any are left out, as a
            resample of them alone would have no ratio.
        seed: of the resampling; equal n and seed give equal resamples.
    """
    return distribution_of_sum(np.ones(1), sums[None], counts[None], seed=seed)


def distribution_of_sum(
    weights: Floats, sums: Floats, counts: Floats, *, seed: int = 0
) -> Floats | None:
    """A weighted sum of k ratios over the same resampled units, [R]; None for fewer than two.

    A ratio of which a resample has no observation keeps its value there.

    Args:
        weights: [k].
        sums: [k, n], the sum of each quantity within each unit.
        counts: [k, n], the number of observations; units without any in all k are left out.
        seed: of the resampling; equal n and seed give equal resamples.
    """
    there = (counts > 0).any(0)
    sums, counts = sums[:, there], counts[:, there]
    if sums.shape[1] < 2:
        return None
    ratios = [_Observed.of(*row) for row in zip(sums, counts, strict=True)]

    def statistic(drawn: NDArray[np.int64]) -> Floats:
        times = _times(drawn).astype(np.float64)
        parts = [w * ratio.over(times) for w, ratio in zip(weights, ratios, strict=True)]
        return np.asarray(sum(parts))

    return _distribution(sums.shape[1], statistic, seed=seed)


@dataclass(frozen=True)
class _Observed:
    """A ratio and the u of n units that have observations of it."""

    units: NDArray[np.int64]  # [u]
    sums: Floats  # [u]
    counts: Floats  # [u]

    @classmethod
    def of(cls, sums: Floats, counts: Floats) -> "_Observed":
        units = np.flatnonzero(counts > 0)
        return cls(units, sums[units], counts[units])

    def over(self, times: Floats) -> Floats:
        """[batch] for units that are drawn [batch, n] times each."""
        own = times if len(self.units) == times.shape[1] else times[:, self.units]
        among = (own * self.counts).sum(1)
        found = np.full(len(own), self.sums.sum() / self.counts.sum())
        np.divide((own * self.sums).sum(1), among, out=found, where=among > 0)
        return found


def distribution_of_median(
    values: NDArray[np.int64], units: NDArray[np.int64], *, seed: int = 0
) -> Floats | None:
    """The median of `values` [m] when whole units are resampled, [R]; None for fewer than two.

    Args:
        values: [m].
        units: [m], the unit of each value, in 0..n-1; every unit has a value.
        seed: of the resampling.
    """
    order = np.argsort(values, kind="stable")
    values, units = values[order], units[order]
    n = int(units.max()) + 1
    if n < 2:
        return None

    def statistic(drawn: NDArray[np.int64]) -> Floats:
        upto = _times(drawn)[:, units].cumsum(1)  # [batch, m], drawn values up to each, in order
        middle = ((upto[:, -1] - 1) // 2, upto[:, -1] // 2)
        found = [values[(upto > place[:, None]).argmax(1)] for place in middle]
        return np.asarray(np.mean(found, axis=0))

    return _distribution(n, statistic, seed=seed, cells=len(values))


def distribution_of_class_mean(
    labels: NDArray[np.int64], correct: NDArray[np.bool_], *, seed: int = 0
) -> Floats | None:
    """The mean per-class recall over resampled samples [n], [R]; None for fewer than two.

    A class that a resample misses counts as absent there, as it does in the metric itself.
    """
    if len(labels) < 2:
        return None
    classes = int(labels.max()) + 1

    def statistic(drawn: NDArray[np.int64]) -> Floats:
        cells = labels[drawn] + classes * np.arange(len(drawn))[:, None]
        shape = (len(drawn), classes)
        size = len(drawn) * classes
        total = np.bincount(cells.ravel(), minlength=size).reshape(shape)
        hits = np.bincount(cells[correct[drawn]], minlength=size).reshape(shape)
        recall = hits / np.maximum(total, 1)  # [batch, C], 0 for absent classes
        return np.asarray(recall.sum(1) / (total > 0).sum(1))

    return _distribution(len(labels), statistic, seed=seed, cells=max(len(labels), classes))


def distribution_of_statistic(
    statistic: Callable[..., float],
    columns: tuple[NDArray[np.generic], ...],
    units: NDArray[np.int64] | None = None,
    *,
    seed: int = 0,
) -> Floats | None:
    """A statistic of the rows of resampled units, [R]; None for fewer than two units.

    Resamples on which it is not defined (one class is missing) give NaN; None if all do.

    Args:
        statistic: columns [., ...] -> number.
        columns: [m, ...] each.
        units: [m], the unit of each row, by any number; None makes each row a unit.
        seed: of the resampling.
    """
    rows_of, n = (lambda drawn: drawn, len(columns[0])) if units is None else _rows_of(units)
    if n < 2:
        return None

    def each(drawn: NDArray[np.int64]) -> Floats:
        rows = (rows_of(one) for one in drawn)
        return np.array([statistic(*(column[own] for column in columns)) for own in rows])

    found = _distribution(n, each, seed=seed)
    return found if np.isfinite(found).any() else None


def _rows_of(units: NDArray[np.int64]) -> tuple[Callable[[NDArray[np.int64]], Any], int]:
    """What gives the rows of drawn units, and how many units there are."""
    own = np.unique(units, return_inverse=True)[1]
    order = np.argsort(own, kind="stable")
    sizes = np.bincount(own)  # [n], rows of each unit
    starts = sizes.cumsum() - sizes  # [n], where they begin in `order`

    def rows(drawn: NDArray[np.int64]) -> NDArray[np.int64]:
        times = sizes[drawn]
        within = np.arange(times.sum()) - np.repeat(times.cumsum() - times, times)
        found: NDArray[np.int64] = order[np.repeat(starts[drawn], times) + within]
        return found

    return rows, len(sizes)


def distribution_of_average_precision(
    scores: NDArray[np.float32], labels: NDArray[np.bool_], *, seed: int = 0
) -> Floats | None:
    """The mean average precision over resampled pictures, [R]; None for fewer than two.

    Pictures are sorted once: a resample counts how often each of them was drawn. A class that a
    resample misses counts 0 there, as it does in the metric itself.

    Args:
        scores: [n, C].
        labels: [n, C], whether picture i shows class c.
        seed: of the resampling.
    """
    if len(scores) < 2:
        return None
    orders = [falling(*column) for column in zip(scores.T, labels.T, strict=True)]
    shown = [np.flatnonzero(own[order]) for own, order in zip(labels.T, orders, strict=True)]

    def statistic(drawn: NDArray[np.int64]) -> Floats:
        times = _times(drawn)  # [batch, n]
        parts = [_average_precision(times[:, o], w) for o, w in zip(orders, shown, strict=True)]
        return np.asarray(np.mean(parts, axis=0))

    return _distribution(len(scores), statistic, seed=seed)


def _average_precision(times: NDArray[np.int64], shown: NDArray[np.int64]) -> Floats:
    """Of pictures that occur [batch, n] times, best first, of which those at `shown` [P] are right.

    Returns:
        [batch].
    """
    copies = times[:, shown]  # [batch, P]
    ranks = times.cumsum(1)[:, shown] - copies  # before the first copy of each
    hits = copies.cumsum(1) - copies
    total = np.zeros(len(times))
    for copy in range(1, int(copies.max(initial=0)) + 1):
        total += np.where(copies >= copy, (hits + copy) / (ranks + copy), 0.0).sum(1)
    return np.asarray(total / np.maximum(copies.sum(1), 1))


def _times(drawn: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each of n units was drawn, [batch, n], for the units drawn [batch, n]."""
    cells = drawn + drawn.shape[1] * np.arange(len(drawn))[:, None]
    return np.bincount(cells.ravel(), minlength=drawn.size).reshape(drawn.shape)


def _distribution(
    n: int, statistic: Callable[[NDArray[np.int64]], Floats], *, seed: int, cells: int = 0
) -> Floats:
    """A statistic of units drawn with replacement, [R]: the same draws for equal n and seed.

    Args:
        n: units.
        statistic: drawn units [batch, n] -> [batch].
        seed: of the draws.
        cells: values that a resample holds in memory, where they are more than its units.
    """
    generator = np.random.default_rng(seed)
    batch = max(1, _CELLS // max(cells, n))
    sizes = [min(batch, RESAMPLES - start) for start in range(0, RESAMPLES, batch)]
    return np.concatenate([statistic(generator.integers(0, n, (size, n))) for size in sizes])
