"""What the contrastive objectives share: the cross-entropy of rows, and which columns take part."""

import math

import torch
from torch import Tensor

from vlp.signals import Signals, get, of_all


def row_losses(
    logits: Tensor, targets: Tensor, *, allowed: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy of every row over the columns that take part.

    Args:
        logits: [B, C].
        targets: [B], the right column of each row.
        allowed: [B, C] bool, which columns take part; all without it. The right one always does.
        smoothing: share of the target spread evenly over the columns that take part.

    Returns:
        [B].
    """
    count: Tensor | int = logits.shape[1]
    if allowed is not None:
        allowed = allowed | own_columns(logits, targets)
        count = allowed.sum(1)
        spread = torch.where(allowed, logits, torch.zeros_like(logits)).sum(1)
        logits = logits.masked_fill(~allowed, -math.inf)
    else:
        spread = logits.sum(1)
    right = logits.gather(1, targets[:, None]).squeeze(1)
    losses = logits.logsumexp(1) - (1 - smoothing) * right
    return losses - smoothing * spread / count if smoothing else losses


def own_columns(logits: Tensor, targets: Tensor) -> Tensor:
    """[B, C] bool, true at the right column of each row."""
    return torch.arange(logits.shape[1], device=logits.device) == targets[:, None]


def hardest_columns(logits: Tensor, targets: Tensor, allowed: Tensor, share: float) -> Tensor:
    """[B, C] bool: the highest-scoring share of each row's wrong columns, at least one.

    Wang & Liu 2021 ("Understanding the Behaviour of Contrastive Loss").

    Args:
        logits: [B, C].
        targets: [B], the right column of each row.
        allowed: [B, C] bool, which columns take part at all.
        share: in (0, 1].
    """
    wrong = allowed & ~own_columns(logits, targets)
    scores = logits.detach().masked_fill(~wrong, -math.inf)
    kept = torch.ceil(share * wrong.sum(1)).clamp(min=1).long()  # [B]
    lowest = scores.sort(dim=1, descending=True).values.gather(1, kept[:, None] - 1)
    return wrong & (scores >= lowest)


DUPLICATE_NEEDS = frozenset({"caption_id", "image_id", "all_caption_id", "all_image_id"})


def distinct(signals: Signals) -> Tensor:
    """[B, G] bool: false where caption or picture are the same, so that a pair is no negative."""
    same = torch.zeros((), dtype=torch.bool, device=signals["image"].device)
    for name in ("caption_id", "image_id"):
        same = same | (get(signals, name)[:, None] == of_all(signals, name)[None, :])
    return ~same
