"""Accuracy by group, the worst group, and the macro F1: the measures of WILDS and of fairness sets.

Koh et al., WILDS (ICML 2021); DataComp (NeurIPS 2023) reports them for its 38 tasks. Outcomes come
from `classify`, in which a tie is an error.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlp.metrics.classification import Classification

Group = int | str


@dataclass(frozen=True, kw_only=True)
class GroupAccuracy:
    """Share of right samples in each group that has samples, groups in sorted order."""

    accuracy: dict[Group, float]
    count: dict[Group, int]

    @property
    def worst_group(self) -> Group:
        """The group of the lowest accuracy, the first of several."""
        return min(self.accuracy, key=self.accuracy.__getitem__)

    @property
    def worst(self) -> float:
        return self.accuracy[self.worst_group]

    @property
    def average(self) -> float:
        """Over the samples of all groups."""
        hits = sum(self.accuracy[group] * n for group, n in self.count.items())
        return hits / sum(self.count.values())


def group_accuracy(
    correct: NDArray[np.bool_],
    groups: NDArray[np.int64] | NDArray[np.str_],
    *,
    ignore: Collection[Group] = (),
) -> GroupAccuracy:
    """Accuracy of each group.

    Args:
        correct: [n].
        groups: [n], numbers or names.
        ignore: groups that are left out, such as WILDS' "Other" region.

    Raises:
        ValueError: no sample, lengths that differ, a group to ignore that does not occur, or none
            that is left.
    """
    if len(correct) != len(groups) or len(correct) == 0:
        raise ValueError(
            f"groups: needs one for each of one or more samples, got {len(groups)} groups for "
            f"{len(correct)} samples"
        )
    names, place = np.unique(groups, return_inverse=True)
    known: list[Group] = names.tolist()
    unknown = [group for group in ignore if group not in known]
    if unknown or not set(known) - set(ignore):
        raise ValueError(f"ignore: {list(ignore)} must be some but not all of {known}")
    count = np.bincount(place)
    hits = np.bincount(place, correct.astype(np.float64))
    kept = [(g, k) for g, k in enumerate(known) if k not in ignore]
    return GroupAccuracy(
        accuracy={name: float(hits[g] / count[g]) for g, name in kept},
        count={name: int(count[g]) for g, name in kept},
    )


def group_metrics(
    outcome: Classification,
    groups: NDArray[np.int64] | NDArray[np.str_],
    *,
    k: int = 1,
    ignore: Collection[Group] = (),
) -> dict[str, float]:
    """DataComp's `acc_avg` and `acc_wg`, or `acc_top5_avg` and `acc_top5_wg` for k = 5.

    The average is over all samples, the ignored groups included.

    Args:
        outcome: n classified samples.
        groups: [n].
        k: a sample is right where the true class is among the k best.
        ignore: groups that cannot be the worst.

    Raises:
        ValueError: as `group_accuracy`, and a k as large as the number of classes, for which
            everything is right.
    """
    if not 1 <= k < outcome.classes:
        raise ValueError(f"k: {k} of {outcome.classes} classes; must be from 1 to one less")
    correct = outcome.correct(k)
    name = "acc" if k == 1 else f"acc_top{k}"
    return {
        f"{name}_avg": float(correct.mean()),
        f"{name}_wg": group_accuracy(correct, groups, ignore=ignore).worst,
    }


def f1_macro(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Mean over the classes that occur in the labels of F1 = 2 TP / (2 TP + FP + FN).

    As WILDS takes it for iWildCam: a class that is predicted but never true has no F1 of its own.

    Args:
        labels: [n] true classes.
        predicted: [n]; a tie must be predicted as a wrong class, as in `Classification`.

    Raises:
        ValueError: no sample, or lengths that differ.
    """
    if len(labels) != len(predicted) or len(labels) == 0:
        raise ValueError(f"F1 needs pairs, got {len(labels)} labels, {len(predicted)} predictions")
    classes = int(max(labels.max(), predicted.max())) + 1
    true = np.bincount(labels, minlength=classes)  # TP + FN
    given = np.bincount(predicted, minlength=classes)  # TP + FP
    hits = np.bincount(labels[labels == predicted], minlength=classes)  # TP
    present = true > 0
    return float((2 * hits[present] / (true + given)[present]).mean())
