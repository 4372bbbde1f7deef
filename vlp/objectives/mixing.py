"""Synthetic negatives made of the hardest ones: an option of InfoNCE.

Kalantidis et al. 2020 (MoCHi, "Hard Negative Mixing for Contrastive Learning"): of the
N hardest negatives of a query, (1) mixtures a·n₁ + (1 − a)·n₂, a ~ U(0, 1), and (2) mixtures of a
negative with the query, b·q + (1 − b)·n, b ~ U(0, ½); normalised, without gradient.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How many negatives are made for each row.

    Args:
        pairs: mixtures of two negatives.
        with_query: mixtures of a negative with the query.
        among: the hardest negatives that are mixed.
    """

    pairs: int = 16
    with_query: int = 0
    among: int = 64

    def __post_init__(self) -> None:
        if min(self.pairs, self.with_query) < 0 or self.pairs + self.with_query < 1:
            raise ValueError(
                f"mixing: pairs {self.pairs} and with_query {self.with_query}: at least one must "
                "be positive and none negative"
            )
        if self.among < 1:
            raise ValueError(f"mixing.among must be at least 1, got {self.among}")

    def logits(
        self, queries: Tensor, keys: Tensor, places: tuple[Tensor, Tensor], step: Tensor
    ) -> Tensor:
        """Unscaled similarities of the queries to their made negatives.

        What is drawn depends on the step and on the row's place in the global batch alone.

        Args:
            queries: [B, D].
            keys: [G, D].
            places: the rows of the queries in the global batch [B], and which keys are negatives
                of each [B, G].
            step: [] int64 on the CPU.

        Returns:
            [B, pairs + with_query]; minus infinity for a row without any negative.
        """
        (targets, usable), fixed, others = places, queries.detach(), keys.detach()
        scores = (fixed @ others.T).masked_fill(~usable, -math.inf)  # [B, G]
        hardest = scores.topk(min(self.among, len(others)), dim=1)
        count = torch.isfinite(hardest.values).sum(1)  # [B]
        hard = others[hardest.indices]  # [B, among, D]
        draws = self._draws(step, len(others), queries.device)[targets]  # [B, made, 3]
        first, second = (self._pick(hard, count, draws[..., i]) for i in (0, 1))  # [B, made, D]
        share = draws[..., 2:]
        pairs = torch.arange(draws.shape[1], device=queries.device)[:, None] < self.pairs
        mixed = torch.where(
            pairs,
            share * first + (1 - share) * second,
            0.5 * share * fixed[:, None] + (1 - 0.5 * share) * first,
        )
        made = torch.einsum("bd,bmd->bm", queries, F.normalize(mixed, dim=-1))
        return made.masked_fill(count[:, None] == 0, -math.inf)

    def _draws(self, step: Tensor, rows: int, device: torch.device) -> Tensor:
        """Uniform numbers of every row of the global batch, [G, made, 3]; the same anywhere."""
        random = torch.Generator().manual_seed(int(step))
        drawn = torch.rand(rows, self.pairs + self.with_query, 3, generator=random)
        if device.type == "cuda":
            drawn = drawn.pin_memory()
        return drawn.to(device, non_blocking=True)

    @staticmethod
    def _pick(hard: Tensor, count: Tensor, uniform: Tensor) -> Tensor:
        place = torch.minimum((uniform * count[:, None]).long(), (count[:, None] - 1).clamp(min=0))
        return hard.gather(1, place[..., None].expand(-1, -1, hard.shape[2]))
