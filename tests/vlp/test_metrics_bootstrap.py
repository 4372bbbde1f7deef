import tracemalloc

import numpy as np
import pytest

from vlp.metrics.bootstrap import (
    interval_of_class_mean,
    interval_of_median,
    intervals_of_ratios,
)


def test_interval_of_a_share_is_the_normal_one():
    n, p = 2000, 0.3
    hits = (np.arange(n) < p * n).astype(float)
    low, high = intervals_of_ratios({"acc": hits}, {"acc": np.ones(n)})["acc"]
    half = 1.96 * np.sqrt(p * (1 - p) / n)
    assert low == pytest.approx(p - half, abs=0.004)
    assert high == pytest.approx(p + half, abs=0.004)


def test_clusters_are_resampled_whole():
    """5 equal observations in a cluster carry the information of one: sqrt(5) wider than 5 n."""
    hits = (np.arange(300) % 2).astype(float)
    together = intervals_of_ratios({"x": 5 * hits}, {"x": np.full(300, 5.0)})["x"]
    alone = intervals_of_ratios({"x": np.repeat(hits, 5)}, {"x": np.ones(1500)})["x"]
    assert np.diff(together) / np.diff(alone) == pytest.approx(np.sqrt(5), rel=0.15)


def test_all_names_share_the_resamples():
    """x + (1 - x) is 1 in every resample, so the interval of the sum has no width."""
    x = np.random.default_rng(0).random(100)
    ones = np.ones(100)
    found = intervals_of_ratios(
        {"a": x, "b": 1 - x}, {"a": ones, "b": ones}, totals={"both": {"a": 1.0, "b": 1.0}}
    )
    assert found["both"] == (pytest.approx(1.0), pytest.approx(1.0))
    assert found["a"][0] < x.mean() < found["a"][1]


def test_seeded():
    x = {"a": np.random.default_rng(0).random(50)}
    ones = {"a": np.ones(50)}
    assert intervals_of_ratios(x, ones, seed=3) == intervals_of_ratios(x, ones, seed=3)
    assert intervals_of_ratios(x, ones, seed=3) != intervals_of_ratios(x, ones, seed=4)


def test_median_with_clusters_of_different_sizes():
    generator = np.random.default_rng(0)
    clusters = np.repeat(np.arange(80), generator.integers(1, 4, 80))
    values = generator.integers(1, 100, len(clusters))
    low, high = interval_of_median(values, clusters)
    assert low <= np.median(values) <= high
    assert interval_of_median(np.full(10, 7), np.arange(10)) == (7.0, 7.0)


def test_class_mean_equals_a_loop():
    generator = np.random.default_rng(0)
    labels, correct = generator.integers(0, 3, 60), generator.random(60) < 0.5
    drawn = np.random.default_rng(1)
    means = []
    for _ in range(2000):
        rows = drawn.integers(0, 60, 60)
        y, hit = labels[rows], correct[rows]
        means.append(np.mean([hit[y == c].mean() for c in set(y.tolist())]))
    low, high = interval_of_class_mean(labels, correct)
    assert (low, high) == pytest.approx(tuple(np.percentile(means, (2.5, 97.5))), abs=0.02)


def test_one_cluster_has_no_interval():
    one = {"a": np.ones(1)}
    assert intervals_of_ratios(one, one, totals={"t": {"a": 1.0}}) == {"a": None, "t": None}
    assert interval_of_median(np.array([3, 4]), np.array([0, 0])) is None
    assert interval_of_class_mean(np.array([0]), np.array([True])) is None


def test_median_equals_a_loop():
    generator = np.random.default_rng(0)
    clusters = generator.permutation(np.repeat(np.arange(30), generator.integers(1, 6, 30)))
    values = generator.integers(1, 40, len(clusters))
    own = [values[clusters == cluster] for cluster in range(30)]
    drawn = np.random.default_rng(1)
    medians = [
        np.median(np.concatenate([own[c] for c in drawn.integers(0, 30, 30)])) for _ in range(4000)
    ]
    found = interval_of_median(values, clusters)
    assert found == pytest.approx(tuple(np.percentile(medians, (2.5, 97.5))), abs=1)


def test_one_wide_cluster_takes_no_more_memory_than_its_values():
    clusters = np.concatenate([np.arange(300), np.zeros(20_000, dtype=np.int64)])
    tracemalloc.start()
    assert interval_of_median(np.arange(len(clusters)), clusters) is not None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6  # bytes; a table of clusters by their longest needs 48e6 for one resample
