"""What a model that knows nothing scores: the line below which a number means nothing."""

import math

import numpy as np
from numpy.typing import NDArray

from vlp.metrics.retrieval import RECALLS


def classification(classes: int) -> dict[str, float]:
    """Expected accuracy of a uniformly random ranking of the classes."""
    values = {"acc1": 1 / classes, "mean_per_class_recall": 1 / classes}
    return values | {"acc5": 5 / classes} if classes > 5 else values


def retrieval(images: int, texts: int) -> dict[str, float]:
    """Expected values of a uniformly random ranking, with texts / images captions a picture.

    R@k image to text = 1 - C(M - m, k) / C(M, k) for m of M captions being right.
    """
    values: dict[str, float] = {}
    own = texts / images
    for k in RECALLS:
        values[f"image_retrieval_recall@{k}"] = min(1.0, k / images)
        misses = ((texts - own - j) / (texts - j) for j in range(min(k, texts)))
        values[f"text_retrieval_recall@{k}"] = 1.0 - math.prod(max(0.0, share) for share in misses)
    values["rsum"] = sum(values.values())
    ways = ("image_retrieval", "text_retrieval")
    values["mean_recall@1"] = sum(values[f"{way}_recall@1"] for way in ways) / 2
    return values


def counting(labels: NDArray[np.int64], classes: int) -> dict[str, float]:
    """Expected accuracy and mean absolute deviation of a uniformly random count.

    Args:
        labels: [n] classes in 0..classes - 1; a guess is nearer to a count in the middle.
        classes: number of counts.
    """
    distance = np.abs(labels[:, None] - np.arange(classes))  # [n, C]
    return {"count_acc": 1 / classes, "count_mad": float(distance.mean())}


def choice(misses: NDArray[np.int64]) -> dict[str, float]:
    """Expected share of near misses beaten, and of pictures whose caption beats all of them.

    Args:
        misses: [n], near misses of each picture.
    """
    return {"choice_acc": 0.5, "choice_all_acc": float((1 / (1 + misses)).mean())}
