"""What a model that knows nothing scores: the line below which a number means nothing."""

import math

import numpy as np
from numpy.typing import NDArray

from vlp.metrics.hubness import NEIGHBORS
from vlp.metrics.retrieval import RECALLS

_CELLS = 16  # of an item whose orders are counted


def classification(classes: int) -> dict[str, float]:
    """Expected accuracy of a uniformly random ranking of the classes."""
    values = {"acc1": 1 / classes, "mean_per_class_recall": 1 / classes}
    return values | {"acc5": 5 / classes} if classes > 5 else values


def retrieval(captions: NDArray[np.int64]) -> dict[str, float]:
    """Expected values of a uniformly random ranking.

    Args:
        captions: [N], how many each picture has.
    """
    values: dict[str, float] = {}
    for k in RECALLS:
        values[f"image_retrieval_recall@{k}"] = min(1.0, k / len(captions))
        values[f"text_retrieval_recall@{k}"] = any_of(captions, int(captions.sum()), k)
    values["rsum"] = sum(values.values())
    ways = ("image_retrieval", "text_retrieval")
    values["mean_recall@1"] = sum(values[f"{way}_recall@1"] for way in ways) / 2
    return values


def any_of(right: NDArray[np.int64], gallery: int, k: int) -> float:
    """How often k random places of a gallery of G hold one of R right ones or more, the mean over
    queries: 1 - C(G - R, k) / C(G, k).

    Args:
        right: [Q], how many are right.
        gallery: G.
        k: places.
    """
    drawn = np.arange(min(k, gallery))
    misses = np.clip(gallery - right[:, None] - drawn, 0, None) / (gallery - drawn)  # [Q, k]
    return float(1.0 - misses.prod(1).mean())


def counting(labels: NDArray[np.int64], classes: int) -> dict[str, float]:
    """Expected accuracy and mean absolute deviation of a uniformly random count.

    Args:
        labels: [n] classes in 0..classes - 1; a guess is nearer to a count in the middle.
        classes: number of counts.
    """
    distance = np.abs(labels[:, None] - np.arange(classes))  # [n, C]
    return {"count_acc": 1 / classes, "count_mad": float(distance.mean())}


def choice(item: NDArray[np.int64], right: NDArray[np.int64], wrong: NDArray[np.int64]) -> float:
    """Expected share of items solved when the scores of their cells are in random order; exact.

    1 / (1 + m) for one right cell against m wrong ones; Winoground's crosswise items have 1 / 6.

    Args:
        item: [c], of each comparison.
        right: [c], the cell (picture, text) that must score higher, by any number.
        wrong: [c], the other.
    """
    cells: dict[int, list[tuple[int, int]]] = {}
    for i, one, other in zip(item.tolist(), right.tolist(), wrong.tolist(), strict=True):
        cells.setdefault(i, []).append((one, other))
    shares: dict[tuple[tuple[int, int], ...], float] = {}  # by the form that many items have
    total = 0.0
    for pairs in cells.values():
        place: dict[int, int] = {}
        form = tuple(
            (place.setdefault(one, len(place)), place.setdefault(other, len(place)))
            for one, other in pairs
        )
        if form not in shares:
            shares[form] = _share_of_orders(len(place), form)
        total += shares[form]
    return total / len(cells)


def _share_of_orders(n: int, pairs: tuple[tuple[int, int], ...]) -> float:
    """Share of the orders of n cells in which the first of each pair is above the second."""
    wrong = {other for _, other in pairs}
    if len({one for one, _ in pairs}) == 1 and len(wrong) == n - 1:
        return 1 / n
    if n > _CELLS:
        raise ValueError(f"an item with {n} cells that are no star; at most {_CELLS} are counted")
    below = [0] * n  # by cell: a mask of those that come before it, from the lowest
    for one, other in pairs:
        below[one] |= 1 << other
    ways = [1] + [0] * ((1 << n) - 1)  # by mask: orders of these cells, if they are the lowest
    for mask, count in enumerate(ways):
        for cell in range(n) if count else ():
            if not mask >> cell & 1 and below[cell] & ~mask == 0:
                ways[mask | 1 << cell] += count
    return ways[-1] / math.factorial(n)


def r_precision(prefix: str, positives: NDArray[np.int64], gallery: int) -> dict[str, float]:
    """Expected R-Precision and mAP@R of a uniformly random ranking.

    The r-th of G places is right with probability R / G, and each place before it is then right
    with probability (R - 1) / (G - 1), so that

        R-Precision = R / G
        AP@R        = 1 / G * sum over r = 1..R of (1 + (r - 1) (R - 1) / (G - 1)) / r

    Args:
        prefix: of the names.
        positives: [Q], right answers R of each query.
        gallery: G.
    """
    harmonic = np.cumsum(1 / np.arange(1, positives.max() + 1))[positives - 1]  # [Q]
    again = (positives - 1) / max(1, gallery - 1)
    average = (harmonic + again * (positives - harmonic)) / gallery
    share = positives / gallery
    return {f"{prefix}_map@r": float(average.mean()), f"{prefix}_r_precision": float(share.mean())}


def geometry(pairs: int) -> dict[str, float]:
    """Expected values of features that have nothing to do with picture, text or pair."""
    values = {"linear_separability": 0.5, "pair_auroc": 0.5}
    if pairs > NEIGHBORS + 1:
        values["mutual_knn_overlap"] = NEIGHBORS / (pairs - 1)
    return values


def multilabel(labels: NDArray[np.bool_]) -> dict[str, float]:
    """Expected mean average precision of a uniformly random order of the pictures.

    Of a class with R of n pictures AP is (R - 1) / (n - 1) + (n - R) H_n / (n (n - 1)), H_n the
    harmonic number; a class without pictures counts 0, as in the metric.

    Args:
        labels: [n, C], whether picture i shows class c.
    """
    n = len(labels)
    if n == 1:
        return {"mean_average_precision": float(labels.mean())}
    positives = labels.sum(0)  # [C]
    harmonic = (1 / np.arange(1, n + 1)).sum()
    expected = (positives - 1) / (n - 1) + (n - positives) * harmonic / (n * (n - 1))
    return {"mean_average_precision": float(np.where(positives > 0, expected, 0.0).mean())}
