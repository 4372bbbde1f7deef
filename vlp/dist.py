"""The few facts and collectives of a process group; every function also works without one."""

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor


def active() -> bool:
    """Whether this process is one of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    return dist.get_rank() if active() else 0


def world_size() -> int:
    return dist.get_world_size() if active() else 1


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all ranks in rank order, without gradient; ranks may have different numbers of rows.

    Args:
        rows: [n_r, ...], n_r >= 0 differs by rank; the other dimensions and the dtype are equal.

    Returns:
        [sum of n_r, ...] on every rank.
    """
    if not active():
        return rows
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(world_size())]
    dist.all_gather(counts, count)
    longest = max(int(c.item()) for c in counts)
    padded = rows.new_zeros((longest, *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(c.item())] for part, c in zip(parts, counts, strict=True)])


T = TypeVar("T")


def gather_objects(value: T) -> list[T]:
    """One small picklable value a rank, in rank order, on every rank."""
    if not active():
        return [value]
    values: list[T | None] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]  # filled by all_gather_object


def global_sum(value: Tensor) -> Tensor:
    """The sum of a tensor over ranks, with gradient: what a rank's value adds to every rank's."""
    if not active():
        return value
    summed: Tensor = _Sum.apply(value)
    return summed


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ANN401 (autograd's context has no type)
        total = value.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of the values where `mask` holds, so that the mean over ranks is the global one.

    A rank without any gives 0, and so does a global batch without any.

    Args:
        values: of any shape; what is masked may be anything finite.
        mask: bool, of the same shape.
    """
    count = global_sum(mask.sum().to(values.dtype).detach())
    kept = torch.where(mask, values, torch.zeros_like(values)).sum()
    return kept * (world_size() / count.clamp(min=1))
