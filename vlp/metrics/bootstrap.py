"""95 % bootstrap intervals (percentile method), seeded.

What is resampled is the unit that was drawn independently: a picture, together with all its
captions. Resampling captions one by one would treat five descriptions of one photo as five
independent observations and give intervals that are too narrow.

Percentile, not BCa: BCa divides by the spread of a jackknife and is not defined where all outcomes
are equal, which is the usual case early in training.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Interval = tuple[float, float]
RESAMPLES = 1000
_CELLS = 1 << 22  # resampled values held at a time: 32 MB


def intervals_of_ratios(
    sums: Mapping[str, NDArray[np.float64]],
    counts: Mapping[str, NDArray[np.float64]],
    *,
    totals: Mapping[str, Mapping[str, float]] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Interval | None]:
    """Intervals of sum(s) / sum(c) over resampled clusters, all names on the same resamples.

    Args:
        sums: name -> [n], the sum of a quantity within each cluster (a picture).
        counts: name -> [n], the number of observations in each cluster; a mean over single samples
            has ones.
        totals: name -> {name in sums: coefficient}, further quantities that are linear in the
            ratios (a sum of recalls).
        seed: of the resampling.
        resamples: number of bootstrap resamples.

    Returns:
        name -> (low, high), or None for fewer than two clusters, which have no spread to measure.
    """
    names = list(sums)
    totals = totals or {}
    if len(sums[names[0]]) < 2:
        return dict.fromkeys([*names, *totals])
    data = (np.stack([sums[k] for k in names]), np.stack([counts[k] for k in names]))  # 2 x [k, n]
    drawn = _distribution(data, _ratio, seed=seed, resamples=resamples)  # [k, resamples]
    rows = dict(zip(names, drawn, strict=True))
    for name, terms in totals.items():
        rows[name] = np.sum([factor * rows[term] for term, factor in terms.items()], axis=0)
    return {name: _interval(values) for name, values in rows.items()}


def interval_of_median(
    values: NDArray[np.int64], clusters: NDArray[np.int64], *, seed: int = 0
) -> Interval | None:
    """Interval of the median of `values` [m] when whole clusters are resampled.

    Args:
        values: [m].
        clusters: [m], the cluster of each value, in 0..n-1; every cluster has a value.
        seed: of the resampling.
    """
    order = np.argsort(values, kind="stable")
    values, clusters = values[order], clusters[order]
    n = int(clusters.max()) + 1
    if n < 2:
        return None

    def statistic(drawn: NDArray[np.int64], axis: int) -> NDArray[np.float64]:
        rows = drawn.reshape(-1, n)  # [batch, n]
        cells = rows + n * np.arange(len(rows))[:, None]
        times = np.bincount(cells.ravel(), minlength=rows.size).reshape(rows.shape)
        upto = times[:, clusters].cumsum(1)  # [batch, m], drawn values up to each, in their order
        middle = ((upto[:, -1] - 1) // 2, upto[:, -1] // 2)
        found = [values[(upto > place[:, None]).argmax(1)] for place in middle]
        return np.asarray(np.mean(found, axis=0)).reshape(drawn.shape[:-1])

    data = (np.arange(n),)
    return _interval(_distribution(data, statistic, seed=seed, cells=len(values)))


def interval_of_class_mean(
    labels: NDArray[np.int64], correct: NDArray[np.bool_], *, seed: int = 0
) -> Interval | None:
    """Interval of the mean per-class recall over resampled samples [n].

    A class that a resample misses counts as absent there, as it does in the metric itself.
    """
    if len(labels) < 2:
        return None
    classes = int(labels.max()) + 1

    def statistic(drawn: NDArray[np.int64], axis: int) -> NDArray[np.float64]:
        rows = drawn.reshape(-1, drawn.shape[-1])  # [batch, n]
        cells = labels[rows] + classes * np.arange(len(rows))[:, None]
        shape = (len(rows), classes)
        size = len(rows) * classes
        total = np.bincount(cells.ravel(), minlength=size).reshape(shape)
        hits = np.bincount(cells[correct[rows]], minlength=size).reshape(shape)
        recall = hits / np.maximum(total, 1)  # [batch, C], 0 for absent classes
        return np.asarray(recall.sum(1) / (total > 0).sum(1)).reshape(drawn.shape[:-1])

    return _interval(_distribution((np.arange(len(labels)),), statistic, seed=seed))


def _ratio(
    sums: NDArray[np.float64], counts: NDArray[np.float64], axis: int
) -> NDArray[np.float64]:
    return np.asarray(sums.sum(axis) / counts.sum(axis))


def _distribution(
    data: tuple[NDArray[np.generic], ...],
    statistic: Callable[..., NDArray[np.float64]],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    cells: int = 0,
) -> NDArray[np.float64]:
    """The statistic on each resample, [..., resamples].

    Args:
        cells: values that a resample holds in memory, where they are more than its data.
    """
    result = stats.bootstrap(
        data,
        statistic,
        n_resamples=resamples,
        batch=max(1, _CELLS // max(cells, data[0].size)),
        vectorized=True,
        paired=len(data) > 1,
        axis=-1,
        method="percentile",
        random_state=np.random.default_rng(seed),
    )
    return np.asarray(result.bootstrap_distribution)


def _interval(drawn: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)
