"""Zero-shot classification of pictures that show several classes, such as PASCAL VOC 2007.

Average precision of a class, as CLIP_benchmark defines it: order all pictures by their score for
the class; AP is the mean over the pictures that show it of the precision down to each of them. It
is not VOC's 11-point measure. One tie rule: within equal scores the pictures that lack the class
come first, so a constant model has the lowest precision that is possible.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class AveragePrecision:
    """One value for each of C classes."""

    values: NDArray[np.float64]  # [C], 0 where no picture shows the class
    positives: NDArray[np.int64]  # [C], pictures that show it
    tied: NDArray[np.int64]  # [C], of these, how many tie with one that lacks it

    @property
    def mean(self) -> float:
        """mAP over all classes; one that no picture shows counts 0, as in CLIP_benchmark."""
        return float(self.values.mean())

    @property
    def without_positives(self) -> int:
        """How many classes no picture shows; each lowers the mean by 1 / C."""
        return int((self.positives == 0).sum())


def average_precision(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> AveragePrecision:
    """Average precision of every class.

    Args:
        scores: [n, C], higher is better.
        labels: [n, C], whether picture i shows class c.

    Raises:
        ValueError: shapes that differ or are empty, a score that is no number, or a label that is
            neither 0 nor 1.
    """
    if scores.ndim != 2 or scores.shape != labels.shape or 0 in scores.shape:
        raise ValueError(
            f"scores and labels need one cell for each picture and class, "
            f"got {scores.shape} and {labels.shape}"
        )
    if not np.isfinite(scores).all():
        raise ValueError("scores: NaN or infinity among the scores; the features are broken")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels: a value that is neither 0 nor 1")
    columns = [_one_class(*column) for column in zip(scores.T, labels.T != 0, strict=True)]
    values, tied = zip(*columns, strict=True)
    return AveragePrecision(
        values=np.array(values),
        positives=np.asarray((labels != 0).sum(0), dtype=np.int64),
        tied=np.array(tied),
    )


def mean_average_precision(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> float:
    """mAP; arguments and errors as `average_precision`."""
    return average_precision(scores, labels).mean


def falling(scores: NDArray[np.float32], shows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Places of pictures [n] by falling score, those that lack the class first within a tie."""
    return np.lexsort((shows, -scores))


def _one_class(scores: NDArray[np.float32], shows: NDArray[np.bool_]) -> tuple[float, int]:
    """AP from [n] scores and labels, and how many of the positives tie with a negative."""
    ranks = np.flatnonzero(shows[falling(scores, shows)]) + 1  # [P]
    hits = np.arange(1, len(ranks) + 1)
    value = float((hits / ranks).sum() / max(len(ranks), 1))
    return value, int(np.isin(scores[shows], scores[~shows]).sum())
