"""The few facts and collectives of a process group; every function also works without one."""

from typing import TypeVar

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
