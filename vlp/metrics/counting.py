"""Counting as a choice among nine captions that differ in their number word (CountBench).

Protocol of Paiss et al. (ICCV 2023): the caption of a picture is written with each of two to ten,
and the best one is the count that the model sees.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlp.metrics.classification import Classification, classify
from vlp.metrics.outcomes import ClassMean, Outcome, Ratio, mean_of

LOWEST = 2  # class c is the count LOWEST + c


def count_by_choice(scores: Tensor, counts: Tensor) -> Classification:
    """Which count each picture is given, as a classification into nine classes.

    Of several counts that share the highest score the one farthest from the truth is predicted, so
    a tie is an error in the deviation as it is in the accuracy.

    Args:
        scores: [n, 9], of the captions with two to ten.
        counts: [n], the true counts.

    Raises:
        ValueError: a score that is no number, or a count outside two to ten.
    """
    labels = (counts - LOWEST).to(scores.device)
    outcome = classify(scores, labels)
    classes = torch.arange(scores.shape[1], device=scores.device)
    distance = (classes - labels[:, None]).abs()  # [n, 9]
    best = scores == scores.amax(1, keepdim=True)
    farthest = torch.where(best, distance, -1).argmax(1)  # [n]
    return replace(outcome, predicted=farthest.cpu().numpy())


def deviation(outcome: Classification) -> NDArray[np.float64]:
    """Absolute difference between the predicted and the true count, [n]."""
    return np.asarray(np.abs(outcome.predicted - outcome.labels), dtype=np.float64)


def count_metrics(outcome: Classification) -> dict[str, float]:
    """The values of `count_outcomes`."""
    return {name: own.value for name, own in count_outcomes(outcome).items()}


def count_outcomes(outcome: Classification) -> dict[str, Outcome]:
    """What every picture contributed to the metrics.

    `count_acc`; `count_mad`, the mean absolute deviation; `count_acc_N`, the accuracy among the
    pictures of N, of every N that occurs; and `mean_per_count_acc`, the mean of these.
    """
    correct = outcome.correct()
    found: dict[str, Outcome] = {
        "count_acc": mean_of(correct),
        "count_mad": mean_of(deviation(outcome)),
        "mean_per_count_acc": ClassMean(outcome.labels, correct),
    }
    for label in np.unique(outcome.labels).tolist():
        own = outcome.labels == label  # [n]
        found[f"count_acc_{LOWEST + label}"] = Ratio(
            (correct & own).astype(np.float64), own.astype(np.float64), hits=True
        )
    return found
