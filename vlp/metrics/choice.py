"""Choosing among texts or pictures: comparisons of a right (picture, text) with a wrong one.

An item holds one comparison or several and is solved when all of them hold: one near miss of a
caption (SugarCrepe), several (Precision@1), or two captions and two pictures crosswise (Winoground,
Thrush et al. 2022, whose group score is the share of items that are solved). One tie rule: the
right pair must score strictly higher, so a model that scores all pairs alike solves nothing.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_CELLS = 1 << 22  # products held in float64 at a time: 32 MB


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Outcomes of c comparisons."""

    holds: NDArray[np.bool_]  # [c], the right pair scores strictly higher
    tied: NDArray[np.bool_]  # [c]


def compare_scores(right: NDArray[np.float32], wrong: NDArray[np.float32]) -> Compared:
    """Compare the scores of right pairs [c] with those of wrong ones [c].

    Raises:
        ValueError: a score that is no number, or not as many right ones as wrong ones.
    """
    if right.shape != wrong.shape:
        raise ValueError(f"scores: {right.shape} right ones and {wrong.shape} wrong ones")
    if not (np.isfinite(right).all() and np.isfinite(wrong).all()):
        raise ValueError("scores: NaN or infinity among the scores; the features are broken")
    return Compared(holds=right > wrong, tied=right == wrong)


def solved_items(
    item: NDArray[np.int64], holds: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Which items [m] occur among comparisons, and whether all their comparisons hold [m].

    Args:
        item: [c], of each comparison.
        holds: [c].
    """
    which, place = np.unique(item, return_inverse=True)
    lost = np.bincount(place, ~holds, len(which))
    return which, lost == 0


def pair_scores(image: Tensor, text: Tensor) -> Tensor:
    """Dot products of row i with row i, [m, D] and [m, D] -> [m] float32.

    Summed in float64 and rounded, so that equal features give exactly equal scores.
    """
    step = max(1, _CELLS // image.shape[1])
    parts = []
    for start in range(0, len(image), step):
        rows = slice(start, start + step)
        parts.append((image[rows].double() * text[rows].double()).sum(1).float())
    return torch.cat(parts)
