"""Choosing the true caption of a picture among near misses.

One tie rule: the true caption must score strictly higher, so a model that gives all texts the same
score beats none of them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_CELLS = 1 << 22  # products held in float64 at a time: 32 MB


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Outcomes for n pictures with m near misses in all."""

    owner: NDArray[np.int64]  # [m], the picture of each near miss
    beaten: NDArray[np.bool_]  # [m], the true caption scores strictly higher
    tied: NDArray[np.bool_]  # [m]
    all_beaten: NDArray[np.bool_]  # [n]

    @property
    def metrics(self) -> dict[str, float]:
        """`choice_acc`, over all near misses, and `choice_all_acc`, over pictures."""
        return {
            "choice_acc": float(self.beaten.mean()),
            "choice_all_acc": float(self.all_beaten.mean()),
        }


def choose(
    true: NDArray[np.float32], wrong: NDArray[np.float32], owner: NDArray[np.int64]
) -> Choice:
    """Compare the true caption of every picture with each of its near misses.

    Args:
        true: [n] scores of the true captions.
        wrong: [m] scores of the near misses.
        owner: [m], which picture each belongs to; every picture has at least one.

    Raises:
        ValueError: a score that is no number, or a picture without a near miss.
    """
    if not (np.isfinite(true).all() and np.isfinite(wrong).all()):
        raise ValueError("scores: NaN or infinity among the scores; the features are broken")
    misses = np.bincount(owner, minlength=len(true))
    if len(misses) != len(true) or len(owner) != len(wrong) or not misses.all():
        raise ValueError(
            f"owner: needs one picture in [0, {len(true)}) for each of {len(wrong)} near misses, "
            "and a near miss for each picture"
        )
    beaten = true[owner] > wrong
    return Choice(
        owner=owner,
        beaten=beaten,
        tied=true[owner] == wrong,
        all_beaten=np.bincount(owner, beaten, len(true)) == misses,
    )


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
