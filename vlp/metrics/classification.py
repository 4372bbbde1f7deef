"""Zero-shot classification from a score matrix.

One tie rule: the true class must score strictly higher than every other one, so a model that gives
every class the same score is wrong everywhere instead of right wherever the label is 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlp.metrics.similarity import best_first, just_below, similarity_chunks


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Per-sample outcomes; `metrics` reduces them."""

    labels: NDArray[np.int64]  # [n]
    predicted: NDArray[np.int64]  # [n], equals the label only where the answer is right
    rank: NDArray[np.int64]  # [n], of the true class, 1 is best
    tied: NDArray[np.bool_]  # [n], another class has exactly the true class's score
    top: NDArray[np.int64]  # [n, K] classes, best first, wrong ones first within a tie
    top_score: NDArray[np.float32]  # [n, K]
    classes: int

    def correct(self, k: int = 1) -> NDArray[np.bool_]:
        """[n], whether the true class is among the k best."""
        return self.rank <= k

    @property
    def confusion(self) -> NDArray[np.int64]:
        """[C, C], rows are true classes, columns predicted ones."""
        cells = self.labels * self.classes + self.predicted
        counts = np.bincount(cells, minlength=self.classes**2)
        return counts.reshape(self.classes, self.classes).astype(np.int64)

    @property
    def top_k(self) -> dict[str, int]:
        """{metric name: k}; a top-5 among 5 or fewer classes would always be right."""
        return {"acc1": 1, "acc5": 5} if self.classes > 5 else {"acc1": 1}

    @property
    def metrics(self) -> dict[str, float]:
        values = {name: self.correct(k).mean().item() for name, k in self.top_k.items()}
        values["mean_per_class_recall"] = mean_per_class_recall(self.labels, self.correct())
        return values


def classify(scores: Tensor, labels: Tensor, top: int = 5) -> Classification:
    """Rank the true class of every sample.

    Args:
        scores: [n, C], higher is better.
        labels: [n] integers in [0, C).
        top: how many of the best classes to keep.

    Raises:
        ValueError: a score that is no number (it would compare as better than nothing), a label
            outside the classes, or no sample.
    """
    n, classes = scores.shape
    if n == 0:
        raise ValueError("scores: no sample to classify")
    if not torch.isfinite(scores).all():
        raise ValueError("scores: NaN or infinity among the scores; the features are broken")
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(
            f"labels: from {int(labels.min())} to {int(labels.max())}, "
            f"but there are {classes} classes (0 to {classes - 1})"
        )
    labels = labels.to(scores.device)
    true = scores.gather(1, labels[:, None])  # [n, 1]
    above = (scores > true).sum(1)  # [n]
    equal = (scores == true).sum(1) - 1  # [n]
    rank = 1 + above + equal
    best_other = scores.scatter(1, labels[:, None], -torch.inf).argmax(1)  # [n]
    predicted = torch.where(rank == 1, labels, best_other)
    lowered = scores.scatter(1, labels[:, None], just_below(true))
    best, best_score = best_first(scores, lowered, top)
    return Classification(
        labels=labels.cpu().numpy(),
        predicted=predicted.cpu().numpy(),
        rank=rank.cpu().numpy(),
        tied=(equal > 0).cpu().numpy(),
        top=best.cpu().numpy(),
        top_score=best_score.cpu().numpy(),
        classes=classes,
    )


def classify_features(
    queries: Tensor, classes: Tensor, labels: Tensor, top: int = 5
) -> Classification:
    """`classify` the dot products of features, without the matrix [n, C] of all scores.

    Args:
        queries: [n, D].
        classes: [C, D].
        labels: [n] integers in [0, C).
        top: how many of the best classes to keep.

    Raises:
        ValueError: as `classify`.
    """
    if len(queries) == 0:
        raise ValueError("scores: no sample to classify")
    parts = [
        classify(scores, labels[start : start + len(scores)], top)
        for start, scores in similarity_chunks(queries, classes)
    ]

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    return Classification(
        labels=joined("labels"),
        predicted=joined("predicted"),
        rank=joined("rank"),
        tied=joined("tied"),
        top=joined("top"),
        top_score=joined("top_score"),
        classes=len(classes),
    )


def mean_per_class_recall(labels: NDArray[np.int64], correct: NDArray[np.bool_]) -> float:
    """Mean over the classes that have samples of the share of their samples that is right."""
    totals = np.bincount(labels)
    hits = np.bincount(labels, weights=correct.astype(np.float64))
    present = totals > 0
    return float((hits[present] / totals[present]).mean())
