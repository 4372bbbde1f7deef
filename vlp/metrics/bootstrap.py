"""Bootstrap distributions and 95 % intervals (percentile method), seeded.

What is resampled is the unit that was drawn independently: a picture, together with all its
captions. Resampling captions one by one would treat five descriptions of one photo as five
independent observations and give intervals that are too narrow.

Percentile, not BCa: BCa divides by the spread of a jackknife and is not defined where all outcomes
are equal, which is the usual case early in training.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Interval = tuple[float, float]
Floats = NDArray[np.float64]
RESAMPLES = 1000
_CELLS = 1 << 22  # resampled values held at a time: 32 MB


def percentiles(drawn: Floats) -> Interval:
    """The 95 % interval of a bootstrap distribution [R]."""
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def distribution_of_ratio(sums: Floats, counts: Floats, *, seed: int = 0) -> Floats | None:
    """sum(sums) / sum(counts) over resampled units, [R]; None for fewer than two units.

    Args:
        sums: [n], the sum of a quantity within each unit (a picture).
        counts: [n], the number of observations in each; units without any are left out, as a
            resample of them alone would have no ratio.
        seed: of the resampling; equal n and seed give equal resamples.
    """
    there = counts > 0
    sums, counts = sums[there], counts[there]
    if len(sums) < 2:
        return None

    def statistic(drawn: NDArray[np.int64]) -> Floats:
        return np.asarray(sums[drawn].sum(1) / counts[drawn].sum(1))

    return _distribution(len(sums), statistic, seed=seed)


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
        cells = drawn + n * np.arange(len(drawn))[:, None]
        times = np.bincount(cells.ravel(), minlength=drawn.size).reshape(drawn.shape)
        upto = times[:, units].cumsum(1)  # [batch, m], drawn values up to each, in their order
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
    statistic: Callable[..., float], columns: tuple[NDArray[np.generic], ...], *, seed: int = 0
) -> Floats | None:
    """A statistic of resampled rows of all columns, [R]; None for fewer than two rows.

    Resamples on which it is not defined (NaN: one class is missing) are left out.
    """
    n = len(columns[0])
    if n < 2:
        return None

    def each(drawn: NDArray[np.int64]) -> Floats:
        return np.array([statistic(*(column[rows] for column in columns)) for rows in drawn])

    found = _distribution(n, each, seed=seed)
    return found if np.isfinite(found).any() else None


def _distribution(
    n: int, statistic: Callable[[NDArray[np.int64]], Floats], *, seed: int, cells: int = 0
) -> Floats:
    """A statistic of units drawn with replacement, [R].

    Args:
        n: units.
        statistic: drawn units [batch, n] -> [batch].
        seed: of the draws.
        cells: values that a resample holds in memory, where they are more than its units.
    """

    def flat(drawn: NDArray[np.int64], axis: int) -> Floats:
        return statistic(drawn.reshape(-1, n)).reshape(drawn.shape[:-1])

    result = stats.bootstrap(
        (np.arange(n),),
        flat,
        n_resamples=RESAMPLES,
        batch=max(1, _CELLS // max(cells, n)),
        vectorized=True,
        axis=-1,
        method="percentile",
        random_state=np.random.default_rng(seed),
    )
    return np.asarray(result.bootstrap_distribution)
