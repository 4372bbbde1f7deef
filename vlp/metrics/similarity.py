"""Dot products in which equal features give exactly equal scores.

A score is a dot product summed in float64 and rounded to float32. In a float32 matrix product the
last bits of an element depend on the tile in which it falls, so that two copies of one feature can
differ and a tie is seen on one machine and not on another.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

_CELLS = 1 << 22  # scores held in float64 at a time: 32 MB
_ROWS = 64  # fewer rows at a time would spend more on converting the gallery than on the products
_PAIRS = 512  # pairs of rows multiplied at a time, few enough to stay in the cache


def similarity(queries: Tensor, gallery: Tensor) -> Tensor:
    """[q, D] and [g, D] -> [q, g] float32, on the device of the features."""
    return torch.cat([scores for _, scores in similarity_chunks(queries, gallery)])


def just_below(scores: Tensor) -> Tensor:
    """The next smaller float: sorts an answer behind whatever ties with it, and nothing else."""
    return torch.nextafter(scores, torch.full_like(scores, -torch.inf))


def best_first(scores: Tensor, lowered: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Columns and scores of the k best of each row, in the order of `lowered`, [q, K] each."""
    best = lowered.topk(min(k, lowered.shape[1]), dim=1).indices
    return best, scores.gather(1, best)


def similarity_chunks(queries: Tensor, gallery: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(first query, scores [rows, g] float32), a bounded number of scores at a time.

    Beside the scores, [max(64, 4 M / g), g], only a part of the gallery is held in float64.
    """
    rows = max(_ROWS, _CELLS // len(gallery))
    width = max(1, _CELLS // rows)
    for start in range(0, len(queries), rows):
        part = queries[start : start + rows].double()
        tiles = [(part @ tile.double().T).float() for tile in torch.split(gallery, width)]
        yield start, torch.cat(tiles, dim=1)


def pair_scores(one: Tensor, other: Tensor, pairs: tuple[Tensor, Tensor]) -> Tensor:
    """Scores of chosen pairs of rows.

    Args:
        one: [n, D].
        other: [m, D].
        pairs: rows of `one` and of `other`, [P] each.

    Returns:
        [P] float32.
    """
    found = [
        one[i].double().mul_(other[j]).sum(1).float()
        for i, j in zip(*(torch.split(rows, _PAIRS) for rows in pairs), strict=True)
    ]
    return torch.cat(found)


def lengths(name: str, rows: Tensor) -> Tensor:
    """Euclidean norms of the rows [n, D] of `name`, [n] float64.

    Raises:
        ValueError: a feature that is no number.
    """
    parts = torch.split(rows, max(1, _CELLS // rows.shape[1]))
    norms = torch.cat([part.double().square().sum(1).sqrt() for part in parts])
    if not torch.isfinite(norms).all():
        raise ValueError(f"{name}: NaN or infinity among the features")
    return norms


def product_margin(length: Tensor, longest: Tensor, width: int) -> Tensor:
    """How far elements of a float32 matrix product can lie from the scores, [n] float64.

    n u / (1 - n u) |x| |y| with u = 2^-24 bounds the error of a dot product of n terms, in whatever
    order they are added (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). Four
    more roundings: both features to float32, the score to float32, and its sum in float64. Products
    and sums may also be flushed to zero.

    Args:
        length: [n], |x| of the queries.
        longest: the largest |y| of the gallery.
        width: terms of a dot product, D.
    """
    error = (width + 4) * 2.0**-24
    tiny = 2 * width * torch.finfo(torch.float32).tiny
    return length * longest * (error / (1.0 - error)) + tiny
