import tracemalloc

import numpy as np
import pytest

from vlp.metrics import bootstrap
from vlp.metrics.bootstrap import (
    distribution_of_class_mean,
    distribution_of_median,
    distribution_of_ratio,
    distribution_of_statistic,
    distribution_of_sum,
    percentiles,
)


def draws(n, seed=0):
    """1000 resamples of n units."""
    return np.random.default_rng(seed).integers(0, n, (1000, n))


def interval_of_ratio(sums, counts, seed=0):
    return percentiles(distribution_of_ratio(sums, counts, seed=seed))


def test_interval_of_a_share_is_the_normal_one():
    n, p = 2000, 0.3
    hits = (np.arange(n) < p * n).astype(float)
    low, high = interval_of_ratio(hits, np.ones(n))
    half = 1.96 * np.sqrt(p * (1 - p) / n)
    assert low == pytest.approx(p - half, abs=0.004)
    assert high == pytest.approx(p + half, abs=0.004)


def test_clusters_are_resampled_whole():
    """5 equal observations in a cluster carry the information of one: sqrt(5) wider than 5 n."""
    hits = (np.arange(300) % 2).astype(float)
    together = interval_of_ratio(5 * hits, np.full(300, 5.0))
    alone = interval_of_ratio(np.repeat(hits, 5), np.ones(1500))
    assert np.diff(together) / np.diff(alone) == pytest.approx(np.sqrt(5), rel=0.15)


def test_ratio_equals_a_loop():
    """Clusters of different sizes, and some that are empty."""
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 4, 40).astype(float)
    sums = generator.random(40) * counts
    own, times = sums[counts > 0], counts[counts > 0]
    expected = [own[rows].sum() / times[rows].sum() for rows in draws(len(own))]
    assert distribution_of_ratio(sums, counts) == pytest.approx(expected, rel=1e-12)
    low, high = np.percentile(expected, (2.5, 97.5))
    assert interval_of_ratio(sums, counts) == pytest.approx((low, high), rel=1e-12)


def test_the_ratios_of_a_sum_share_the_resamples():
    """x + (1 - x) is 1 in every resample, so the interval of the sum has no width."""
    x = np.random.default_rng(0).random(100)
    ones = np.ones((2, 100))
    drawn = distribution_of_sum(np.ones(2), np.stack([x, 1 - x]), ones)
    assert drawn == pytest.approx(1.0)
    assert percentiles(drawn) == (pytest.approx(1.0), pytest.approx(1.0))
    low, high = interval_of_ratio(x, np.ones(100))
    assert low < x.mean() < high


def test_ratios_over_parts_of_the_units_share_the_resamples():
    """Each unit has observations of one of three quantities: against a loop over joint draws."""
    generator = np.random.default_rng(0)
    kind = generator.permutation(np.repeat(np.arange(3), (40, 30, 10)))
    hits = (generator.random(80) < 0.4).astype(float)
    counts = (kind == np.arange(3)[:, None]).astype(float)
    weights = np.array([0.5, 0.3, 0.2])
    expected = []
    for rows in draws(80):
        parts = [hits[rows][kind[rows] == k] for k in range(3)]
        expected.append(sum(w * part.mean() for w, part in zip(weights, parts, strict=True)))
    found = distribution_of_sum(weights, hits * counts, counts)
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_ratio_that_a_resample_misses_keeps_its_value():
    sums = np.array([[1.0, 0, 0, 0], [0, 1, 0, 1]])
    counts = np.array([[2.0, 0, 0, 0], [0, 1, 1, 1]])
    found = distribution_of_sum(np.array([1.0, 0.0]), sums, counts)
    assert (found == 0.5).all()  # its one unit is drawn or not


def test_seeded():
    x, ones = np.random.default_rng(0).random(50), np.ones(50)
    assert interval_of_ratio(x, ones, seed=3) == interval_of_ratio(x, ones, seed=3)
    assert interval_of_ratio(x, ones, seed=3) != interval_of_ratio(x, ones, seed=4)


def test_median_with_clusters_of_different_sizes():
    generator = np.random.default_rng(0)
    clusters = np.repeat(np.arange(80), generator.integers(1, 4, 80))
    values = generator.integers(1, 100, len(clusters))
    low, high = percentiles(distribution_of_median(values, clusters))
    assert low <= np.median(values) <= high
    assert (distribution_of_median(np.full(10, 7), np.arange(10)) == 7.0).all()


def test_class_mean_equals_a_loop():
    generator = np.random.default_rng(0)
    labels, correct = generator.integers(0, 3, 60), generator.random(60) < 0.5
    labels[labels == 2] = 4  # there need not be all classes
    means = []
    for rows in draws(60):
        y, hit = labels[rows], correct[rows]
        means.append(np.mean([hit[y == c].mean() for c in set(y.tolist())]))
    assert distribution_of_class_mean(labels, correct) == pytest.approx(means, rel=1e-12)


def test_a_statistic_that_is_not_defined_on_some_resamples():
    """Without the one row that it needs, in (1 - 1/8)^8 = 34 % of them, it is not defined."""

    def first(values, there):
        return float(values[there].mean()) if there.any() else np.nan

    columns = (np.arange(8.0), np.arange(8) == 3)
    found = distribution_of_statistic(first, columns)
    assert np.isnan(found).mean() == pytest.approx((7 / 8) ** 8, abs=0.05)
    assert percentiles(found) == (3.0, 3.0)
    assert distribution_of_statistic(lambda values, there: np.nan, columns) is None


def test_a_statistic_of_whole_units_equals_a_loop():
    generator = np.random.default_rng(0)
    units = generator.permutation(np.repeat(np.arange(20), generator.integers(1, 5, 20)))
    columns = generator.random(len(units)), generator.random((len(units), 3))

    def statistic(values, table):
        return float((values[:, None] * table).mean() / values.sum())

    own = [np.flatnonzero(units == unit) for unit in range(20)]
    drawn = [np.concatenate([own[unit] for unit in rows]) for rows in draws(20)]
    expected = [statistic(*(column[rows] for column in columns)) for rows in drawn]
    assert distribution_of_statistic(statistic, columns, units) == pytest.approx(expected)
    apart = distribution_of_statistic(statistic, columns, 3 * units + 5)  # some are of no row
    assert apart == pytest.approx(expected)
    alone = distribution_of_statistic(statistic, columns, np.arange(len(units)))
    assert np.array_equal(alone, distribution_of_statistic(statistic, columns))


def test_one_unit_has_no_distribution():
    one = np.ones(1)
    assert distribution_of_ratio(one, one) is None
    assert distribution_of_ratio(np.ones(5), np.array([0.0, 0, 0, 0, 1])) is None
    assert distribution_of_sum(np.ones(2), np.ones((2, 1)), np.ones((2, 1))) is None
    assert distribution_of_median(np.array([3, 4]), np.array([0, 0])) is None
    assert distribution_of_class_mean(np.array([0]), np.array([True])) is None
    assert distribution_of_statistic(np.mean, (one,)) is None
    assert distribution_of_statistic(np.mean, (np.ones(3),), np.zeros(3, np.int64)) is None


def test_median_equals_a_loop():
    generator = np.random.default_rng(0)
    clusters = generator.permutation(np.repeat(np.arange(30), generator.integers(1, 6, 30)))
    values = generator.integers(1, 40, len(clusters))
    own = [values[clusters == cluster] for cluster in range(30)]
    medians = [np.median(np.concatenate([own[c] for c in rows])) for rows in draws(30)]
    assert distribution_of_median(values, clusters).tolist() == medians


def test_one_wide_cluster_takes_no_more_memory_than_its_values():
    clusters = np.concatenate([np.arange(300), np.zeros(20_000, dtype=np.int64)])
    tracemalloc.start()
    assert distribution_of_median(np.arange(len(clusters)), clusters) is not None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6  # bytes; a table of clusters by their longest needs 48e6 for one resample


def test_many_units_are_resampled_in_parts(monkeypatch):
    """A bounded number of values is held at a time, and how many changes nothing."""
    x, counts = np.random.default_rng(0).random((2, 200))
    whole = distribution_of_ratio(x, counts)
    monkeypatch.setattr(bootstrap, "_CELLS", 1 << 10)  # 5 resamples at a time
    assert np.array_equal(distribution_of_ratio(x, counts), whole)
