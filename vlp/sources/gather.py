"""Rows of all ranks, with gradient where they have one.

The gradient of an all-gather is a reduce-scatter: a rank's features take part in every rank's loss.
Without it (`local_loss` alone in open_clip) the gradient points elsewhere; with it and with losses
that are means over the rank's own rows, the mean over ranks that DDP takes of the parameters'
gradients is exactly the gradient of the global batch.
"""

from collections.abc import Collection, Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vlp.dist import active, rank, world_size
from vlp.signals import Signals, as_signals, get

PREFIX = "all_"
# torch 2.14 renamed both and warns of the old names
_all_gather = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)
_reduce_scatter = getattr(dist, "reduce_scatter_single", dist.reduce_scatter_tensor)


class Gather(nn.Module):
    """Adds `targets`, and `all_X` for each X that is asked for. All ranks hold equally many rows.

    Args:
        names: the signals `all_X` that somebody needs.
    """

    scope: Literal["batch"] = "batch"

    def __init__(self, names: Collection[str] = ("all_image", "all_text")) -> None:
        super().__init__()
        self.names = sorted(name for name in names if name.startswith(PREFIX))

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"image", *(name.removeprefix(PREFIX) for name in self.names)})

    @property
    def provides(self) -> frozenset[str]:
        return frozenset({"targets", *self.names})

    def forward(self, signals: Signals) -> Signals:
        image = signals["image"]
        own = torch.arange(len(image), device=image.device) + rank() * len(image)  # [B]
        rows = [get(signals, name.removeprefix(PREFIX)) for name in self.names]
        gathered = dict(zip(self.names, gather_all(rows), strict=True))
        return as_signals({**signals, **gathered, "targets": own})  # type: ignore[dict-item]


def gather_all(rows: Sequence[Tensor]) -> list[Tensor]:
    """Several tensors [B, ...] -> rows of all ranks [G, ...]; a collective a kind of number."""
    if not active():
        return list(rows)
    kinds = sorted({(str(r.dtype), r.requires_grad) for r in rows})
    found: dict[int, Tensor] = {}
    for kind in kinds:
        places = [i for i, r in enumerate(rows) if (str(r.dtype), r.requires_grad) == kind]
        flat = [rows[i].reshape(len(rows[i]), -1) for i in places]
        joined = torch.cat(flat, dim=1)  # [B, sum of widths]
        # gloo and NCCL know no bool; a cast changes nothing of it
        whole = gather_with_gradient(joined.byte() if joined.dtype == torch.bool else joined)
        parts = whole.split([f.shape[1] for f in flat], dim=1)  # type: ignore[no-untyped-call]
        for i, part in zip(places, parts, strict=True):
            found[i] = part.reshape(-1, *rows[i].shape[1:]).to(rows[i].dtype)
    return [found[i] for i in range(len(rows))]


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
        _all_gather(gathered, rows.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        gradient = gradient.contiguous()
        own = gradient.new_empty((gradient.shape[0] // world_size(), *gradient.shape[1:]))
        _reduce_scatter(own, gradient)
        return own
