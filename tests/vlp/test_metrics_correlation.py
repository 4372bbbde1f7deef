"""Kendall's tau against its definition."""

import itertools

import numpy as np
import pytest

from vlp.metrics.correlation import kendall_b, kendall_c


def pairs(x, y):
    """(concordant - discordant, pairs not tied in x, pairs not tied in y)"""
    signs = [
        (np.sign(a - b), np.sign(c - d))
        for (a, c), (b, d) in itertools.combinations(zip(x, y, strict=True), 2)
    ]
    return (
        sum(s * t for s, t in signs),
        sum(s != 0 for s, _ in signs),
        sum(t != 0 for _, t in signs),
    )


def test_tau_over_all_single_ratings():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 9, 20) / 8
    ratings = rng.integers(1, 5, (20, 3)).astype(float)
    x, y = np.repeat(scores, 3), ratings.ravel()
    balance, in_x, in_y = pairs(x, y)
    assert kendall_b(scores, ratings) == pytest.approx(balance / np.sqrt(in_x * in_y))
    m = min(len(np.unique(x)), len(np.unique(y)))
    assert kendall_c(scores, ratings) == pytest.approx(2 * balance * m / (len(x) ** 2 * (m - 1)))


def test_who_says_the_same_of_everything_has_none_in_order():
    assert kendall_b(np.ones(5), np.arange(5.0)[:, None]) == 0.0
    assert kendall_c(np.arange(5.0), np.ones((5, 2))) == 0.0
