"""Retrieval with several right answers a query: mAP@R and R-Precision over the full ranking.

For a query with the set P of R right answers, as ECCV Caption (Chun et al. 2022, section 4) and
Musgrave et al. (2020) define them:

    R-Precision = share of P among the R best
    AP@R        = 1 / R * sum over r = 1..R of Precision@r * [the r-th best is in P]

Both need nothing but the ranks of P. Ties count against the model: whatever wrong scores exactly as
high as a right answer ranks before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlp.metrics.retrieval import RECALLS
from vlp.metrics.similarity import lengths, similarity_chunks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class PositiveRanks:
    """Where the right answers of Q queries stand, query by query, the best first."""

    rank: Ints  # [P], 1 is best
    counts: Ints  # [Q], right answers R of each query, one or more

    def hit(self, k: int) -> NDArray[np.bool_]:
        """[Q], whether any right answer is among the k best."""
        return self.rank[self.counts.cumsum() - self.counts] <= k

    def r_precision(self) -> Floats:
        """[Q], in [0, 1]."""
        return self._mean(self._in_first_r().astype(np.float64))

    def average_precision(self) -> Floats:
        """AP@R of each query, [Q], in [0, 1]."""
        first = np.repeat(self.counts.cumsum() - self.counts, self.counts)  # [P]
        found = 1 + np.arange(len(self.rank)) - first  # [P], right answers up to each
        return self._mean(self._in_first_r() * found / self.rank)

    def metrics(self, prefix: str) -> dict[str, float]:
        """`PREFIX_map@r`, `PREFIX_r_precision` and `PREFIX_recall@K`."""
        values = {
            f"{prefix}_map@r": self.average_precision().mean().item(),
            f"{prefix}_r_precision": self.r_precision().mean().item(),
        }
        return values | {f"{prefix}_recall@{k}": self.hit(k).mean().item() for k in RECALLS}

    def _in_first_r(self) -> NDArray[np.bool_]:
        return self.rank <= np.repeat(self.counts, self.counts)

    def _mean(self, values: Floats) -> Floats:
        query = np.repeat(np.arange(len(self.counts)), self.counts)
        return np.bincount(query, values, len(self.counts)) / self.counts


@torch.no_grad()
def positive_ranks(queries: Tensor, gallery: Tensor, positives: Sequence[Ints]) -> PositiveRanks:
    """Rank all right answers of every query among the whole gallery.

    Args:
        queries: [Q, D] unit-norm features.
        gallery: [G, D] unit-norm features.
        positives: for each query the gallery rows that answer it, in any order, one or more.

    Raises:
        ValueError: features that are no numbers, or right answers that are missing, repeated or
            outside the gallery.
    """
    counts = _checked(queries, gallery, positives)
    flat = torch.from_numpy(np.concatenate(positives).astype(np.int64)).to(queries.device)
    ends = [0, *counts.cumsum().tolist()]
    ranks = []
    for start, scores in similarity_chunks(queries, gallery):
        own = counts[start : start + len(scores)]
        place = flat[ends[start] : ends[start + len(scores)]]
        ranks.append(_ranks(scores, place, torch.from_numpy(own).to(scores.device)))
    return PositiveRanks(rank=torch.cat(ranks).cpu().numpy(), counts=counts)


def _ranks(scores: Tensor, place: Tensor, counts: Tensor) -> Tensor:
    """Ranks of the columns `place` [P], `counts` [q] of them a row of scores [q, G]."""
    rows, most = len(counts), int(counts.max())
    row = torch.arange(rows, device=counts.device).repeat_interleave(counts)  # [P]
    slot = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    right = scores.new_full((rows, most), torch.inf)
    right[row, slot] = scores[row, place]
    right = right.sort(dim=1).values  # rising, infinity where a row has fewer
    scores[row, place] = -torch.inf  # what is left is wrong
    reached = torch.searchsorted(right, scores, right=True)  # right answers not above each
    cells = reached + (most + 1) * torch.arange(rows, device=row.device)[:, None]
    wrong = torch.bincount(cells.flatten(), minlength=rows * (most + 1)).view(rows, most + 1)
    before = wrong.flip(1).cumsum(1).flip(1)[:, 1:]  # [q, most], wrong ones at or above each
    rising = counts[row] - 1 - slot  # the best first
    return 1 + slot + before[row, rising]


def _checked(queries: Tensor, gallery: Tensor, positives: Sequence[Ints]) -> Ints:
    """Right answers of each query, [Q]."""
    if len(positives) != len(queries) or len(queries) == 0:
        raise ValueError(f"positives: {len(positives)} sets for {len(queries)} queries")
    lengths("queries", queries)
    lengths("gallery", gallery)
    for query, own in enumerate(positives):
        if len(own) == 0:
            raise ValueError(f"positives: query {query} has no right answer")
        if len(np.unique(own)) != len(own):
            raise ValueError(f"positives: query {query} names an answer twice")
        if own.min() < 0 or own.max() >= len(gallery):
            raise ValueError(f"positives: query {query} has answers outside [0, {len(gallery)})")
    return np.array([len(own) for own in positives], dtype=np.int64)
