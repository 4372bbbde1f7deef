"""Dot products in which equal features give exactly equal scores.

Summed in float64 and rounded to float32. In a float32 matrix product the last bits of an element
depend on the tile in which it falls, so that two copies of one feature can differ and a tie is seen
on one machine and not on another.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

_CELLS = 1 << 22  # scores held in float64 at a time: 32 MB


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
    """(first query, scores [rows, g] float32), a bounded number of scores at a time."""
    columns = gallery.double().T  # [D, g]
    step = max(1, _CELLS // len(gallery))
    for start in range(0, len(queries), step):
        yield start, (queries[start : start + step].double() @ columns).float()
