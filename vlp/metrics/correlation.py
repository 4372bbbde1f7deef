"""Kendall's rank correlation between scores and ratings by several raters."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]


def kendall_b(scores: Floats, ratings: Floats) -> float:
    """tau-b; see `kendall`."""
    return kendall(scores, ratings, "b")


def kendall_c(scores: Floats, ratings: Floats) -> float:
    """tau-c (Stuart's); see `kendall`."""
    return kendall(scores, ratings, "c")


def kendall(scores: Floats, ratings: Floats, variant: str) -> float:
    """Tau over all single ratings.

    Args:
        scores: [n].
        ratings: [n, r], by r raters, each paired with the score.
        variant: "b" or "c".

    Returns:
        From -1 to 1; 0 where all scores or all ratings are equal, as no pair is in order.
    """
    repeated = np.repeat(scores, ratings.shape[1])
    if len(np.unique(repeated)) < 2 or len(np.unique(ratings)) < 2:
        return 0.0
    return float(stats.kendalltau(repeated, ratings.ravel(), variant=variant).statistic)
