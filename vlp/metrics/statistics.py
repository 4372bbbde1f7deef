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
from vlp.metrics.multilabel import mean_average_precision

UNKNOWN = -1  # the group of a sample that has none


def worst_group(correct: NDArray[np.bool_], groups: NDArray[np.int64]) -> float:
    """Lowest accuracy of a group; samples of no known group do not count."""
    known = groups != UNKNOWN
    return group_accuracy(correct[known], groups[known]).worst if known.any() else np.nan


def mean_auroc(scores: NDArray[np.float64], group: NDArray[np.int64]) -> float:
    """Mean over the sets 1, 2, ... of the AUROC of set 0 against each."""
    return _mean_over_sets(ood.auroc, scores, group)


def mean_fpr95(scores: NDArray[np.float64], group: NDArray[np.int64]) -> float:
    """Mean over the sets 1, 2, ... of the share of each that is accepted with 95 % of set 0."""
    return _mean_over_sets(ood.fpr95, scores, group)


def _mean_over_sets(
    measure: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
    scores: NDArray[np.float64],
    group: NDArray[np.int64],
) -> float:
    inside = scores[group == 0]
    others = [scores[group == k] for k in np.unique(group) if k]
    if not len(inside) or not others:
        return np.nan
    return float(np.mean([measure(inside, outside) for outside in others]))


STATISTICS: Mapping[str, Callable[..., float]] = MappingProxyType(
    {
        "worst_group": worst_group,
        "f1_macro": f1_macro,
        "ece": expected_calibration_error,
        "mean_average_precision": mean_average_precision,
        "mean_auroc": mean_auroc,
        "mean_fpr95": mean_fpr95,
        "kendall_b": kendall_b,
        "kendall_c": kendall_c,
    }
)
