"""Features of all ranks, with gradient.

The gradient of an all-gather is a reduce-scatter: a rank's features take part in every rank's loss.
Without it (`local_loss` alone in open_clip) the gradient points elsewhere; with it and with losses
that are means over the rank's own rows, the mean over ranks that DDP takes of the parameters'
gradients is exactly the gradient of the global batch.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vlp.dist import active, rank, world_size
from vlp.signals import Signals


class Gather(nn.Module):
    """Adds `all_image`, `all_text` and `targets`. All ranks must hold equally many rows."""

    needs = frozenset({"image", "text"})
    provides = frozenset({"all_image", "all_text", "targets"})

    def forward(self, signals: Signals) -> Signals:
        image, text = signals["image"], signals["text"]
        rows = len(image)
        targets = torch.arange(rows, device=image.device) + rank() * rows  # [B]
        joined = gather_with_gradient(torch.cat([image, text], dim=1))  # [G, 2D], one collective
        all_image, all_text = joined.tensor_split([image.shape[1]], dim=1)
        return {**signals, "all_image": all_image, "all_text": all_text, "targets": targets}


def gather_with_gradient(rows: Tensor) -> Tensor:
    """Rows of all ranks in rank order, [B, D] -> [G, D]; the gradient is summed over ranks."""
    if not active():
        return rows
    gathered: Tensor = _AllGather.apply(rows)
    return gathered


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:  # noqa: ANN401 (autograd's context has no type)
        gathered = rows.new_empty((world_size() * rows.shape[0], *rows.shape[1:]))
        dist.all_gather_into_tensor(gathered, rows.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        gradient = gradient.contiguous()
        own = gradient.new_empty((gradient.shape[0] // world_size(), *gradient.shape[1:]))
        dist.reduce_scatter_tensor(own, gradient)
        return own
