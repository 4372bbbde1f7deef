"""Statistics of a whole set by name, each a function of columns [n, ...], for bootstrap resamples.

A resample on which one is not defined gives NaN.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from vlp.metrics import ood
from vlp.metrics.calibration import expected_calibration_error
from vlp.metrics.correlation import kendall_b, kendall_c
from vlp.metrics.groups import f1_macro, group_accuracy

Column = NDArray[np.float64] | NDArray[np.int64]
BIASED = frozenset({"worst_group", "ece"})  # resamples have their bias twice
UNKNOWN = -1  # the group of a sample that has none


def worst_group(correct: NDArray[np.bool_], groups: NDArray[np.int64]) -> float:
    """Lowest accuracy of a group; samples of no known group do not count."""
    known = groups != UNKNOWN
    return group_accuracy(correct[known], groups[known]).worst if known.any() else np.nan


def mean_auroc(scores: Column, group: NDArray[np.int64]) -> float:
    """Mean over the sets 1, 2, ... of the AUROC of set 0 against each.

    Args:
        scores: [n]; quicker where they are places in their order, integers from 0.
        group: [n], the set of each.
    """
    return _mean_over_sets(ood.auroc_of_counts, scores, group)


def mean_fpr95(scores: Column, group: NDArray[np.int64]) -> float:
    """Mean over the sets 1, 2, ... of the share of each that is accepted with 95 % of set 0."""
    return _mean_over_sets(ood.fpr95_of_counts, scores, group)


def _mean_over_sets(
    measure: Callable[[ood.Counts, ood.Counts], float], scores: Column, group: NDArray[np.int64]
) -> float:
    place = scores if scores.dtype.kind == "i" else np.unique(scores, return_inverse=True)[1]
    size = int(place.max()) + 1
    inside, *others = (np.bincount(place[group == k], minlength=size) for k in _sets(group))
    if not inside.any() or not others:
        return np.nan
    return float(np.mean([measure(inside, outside) for outside in others]))


def _sets(group: NDArray[np.int64]) -> list[int]:
    """Set 0, and those of the others that are there."""
    return [0, *(k for k in np.unique(group).tolist() if k)]


STATISTICS: Mapping[str, Callable[..., float]] = MappingProxyType(
    {
        "worst_group": worst_group,
        "f1_macro": f1_macro,
        "ece": expected_calibration_error,
        "mean_auroc": mean_auroc,
        "mean_fpr95": mean_fpr95,
        "kendall_b": kendall_b,
        "kendall_c": kendall_c,
    }
)
