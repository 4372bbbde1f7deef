"""Arithmetic on one tile of the logits, in torch, for any device; and who does it on which."""

import functools
import importlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

# Sides of a tile. On an idle CPU 512 to 2,048 take the same time (8,192 pairs of 512 numbers); on a
# busy one small tiles lose it waiting for threads, and large ones take memory: 4 MiB each here.
# On a GPU what counts is that few kernels are launched; its size is not measured.
CPU_TILE, GPU_TILE = 1024, 4096
EXACT_ABOVE = 40.0  # log(1 + exp(x)) is x for larger x, in float64 too


class Pairs(NamedTuple):
    """What a block of logits, scale·image·textᵀ, is made from."""

    image: Tensor  # [R, D]
    text: Tensor  # [C, D]
    scale: Tensor  # []

    def block(self, rows: slice, columns: slice) -> "Pairs":
        return Pairs(self.image[rows], self.text[columns], self.scale)


class Sums(NamedTuple):
    """Of the wrong logits of each row or column: the highest, and the sum of exp(z - highest).

    A match stays out, as the lowest number there is: near the end of training it is the highest by
    far, and next to it the others, which are all that is left of the loss, are lost to rounding.
    """

    highest: Tensor  # [N]
    total: Tensor  # [N]

    @staticmethod
    def none(like: Tensor, dtype: torch.dtype) -> "Sums":
        """Of no logits, for each row of `like`."""
        total = like.new_zeros(len(like), dtype=dtype)
        return Sums(torch.full_like(total, torch.finfo(dtype).min), total)

    def add(self, where: slice, more: "Sums") -> None:
        """Add further logits of some rows or columns, in place."""
        before, total = self.highest[where], self.total[where]
        highest = torch.maximum(before, more.highest)
        total.mul_((before - highest).exp_())
        total.add_(more.total * (more.highest - highest).exp_())
        before.copy_(highest)


class Normalisers(NamedTuple):
    """What makes weights of logits: a softmax is exp((z - highest) - log_sum).

    Both parts of a normaliser are kept: their sum, near 100 for a scale of 100, would have lost
    what a small loss consists of.
    """

    row_highest: Tensor  # [R], of the wrong logits
    row_log_sum: Tensor  # [R], of exp(z - highest), the match among them
    column_highest: Tensor  # [C]
    column_log_sum: Tensor  # [C]
    targets: Tensor  # [R], column numbers; outside of 0 ... C-1 where the match is in another block
    matched: Tensor  # [R], the weight of the match itself, which no difference of 1 has rounded

    def block(self, rows: slice, columns: slice) -> "Normalisers":
        return Normalisers(
            self.row_highest[rows],
            self.row_log_sum[rows],
            self.column_highest[columns],
            self.column_log_sum[columns],
            self.targets[rows] - columns.start,
            self.matched[rows],
        )


class Tiles(Protocol):
    """Three steps on a tile; all statistics and sums are in `dtype`."""

    size: int
    dtype: torch.dtype

    def sums(self, pairs: Pairs, targets: Tensor) -> tuple[Sums, Sums]:
        """Of each row and of each column; `targets` as those of `Normalisers`."""
        ...

    def weights(self, pairs: Pairs, normalisers: Normalisers) -> Tensor:
        """Softmax over the row + softmax over the column, and `matched` at the match, [R, C].

        The tile is valid until the next call.
        """
        ...

    def add_product(self, total: Tensor, weights: Tensor, features: Tensor) -> None:
        """total [M, D] += weights [M, N] @ features [N, D]."""
        ...


class TorchTiles:
    """The steps in plain torch. The order of all sums is fixed, so two runs agree bit for bit."""

    def __init__(self, dtype: torch.dtype, device: torch.device, size: int | None = None) -> None:
        self.dtype = dtype
        self.size = size or (CPU_TILE if device.type == "cpu" else GPU_TILE)
        self._buffers: tuple[Tensor, Tensor] | None = None

    def sums(self, pairs: Pairs, targets: Tensor) -> tuple[Sums, Sums]:
        logits, spare = self._logits(pairs)
        places, matched = _matches(targets, logits.shape[1])
        lowest = torch.finfo(self.dtype).min
        logits.scatter_(1, places, logits.gather(1, places).masked_fill_(matched, lowest))
        of_rows, of_columns = (logits.amax(dim, keepdim=True) for dim in (1, 0))
        return (
            Sums(of_rows[:, 0], torch.sub(logits, of_rows, out=spare).exp_().sum(1)),
            Sums(of_columns[0], torch.sub(logits, of_columns, out=spare).exp_().sum(0)),
        )

    def weights(self, pairs: Pairs, normalisers: Normalisers) -> Tensor:
        logits, weights = self._logits(pairs)
        row_highest, row_log_sum, column_highest, column_log_sum, targets, known = normalisers
        torch.sub(logits, row_highest[:, None], out=weights).sub_(row_log_sum[:, None]).exp_()
        weights.add_(logits.sub_(column_highest).sub_(column_log_sum).exp_())
        places, matched = _matches(targets, weights.shape[1])
        kept = torch.where(matched, known[:, None], weights.gather(1, places))
        return weights.scatter_(1, places, kept)

    def add_product(self, total: Tensor, weights: Tensor, features: Tensor) -> None:
        total.addmm_(weights, features.to(self.dtype))

    def _logits(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """The tile of logits and a second tile to write to, [R, C] each, in buffers used again."""
        image, text = pairs.image.to(self.dtype), pairs.text.to(self.dtype)
        shape = (len(image), len(text))
        area = shape[0] * shape[1]
        if self._buffers is None or self._buffers[0].numel() < area:
            self._buffers = (image.new_empty(area), image.new_empty(area))
        first, second = (buffer[:area].view(shape) for buffer in self._buffers)
        return torch.mm(image * pairs.scale, text.T, out=first), second


def _matches(targets: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """One place a row, and whether it is the row's match, [R, 1] each.

    Every row writes one place, matched or not: no boolean index, which a GPU must wait for.
    """
    matched = (targets >= 0) & (targets < columns)
    return targets.clamp(0, columns - 1)[:, None], matched[:, None]


def spans(length: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` that cover `length`."""
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def statistics_dtype(*tensors: Tensor) -> torch.dtype:
    """float32, or float64 where an input is."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def softplus(x: Tensor) -> Tensor:
    return F.softplus(x, threshold=EXACT_ABOVE)


def dot(one: Tensor, other: Tensor) -> Tensor:
    """Σ one·other of two matrices, [], in the dtype of `other`.

    By some rows at a time: torch.dot takes no more than 2³¹ - 1 numbers on a GPU, and the first
    matrix need not be held in the dtype of the second.
    """
    total = other.new_zeros(())
    for i in spans(len(one), 1024):
        total += (one[i].to(other.dtype) * other[i]).sum()
    return total


def triton_installed() -> bool:
    """Whether a Triton is here that takes tuples as arguments of kernels (3.3)."""
    if importlib.util.find_spec("triton") is None:
        return False
    version: str = importlib.import_module("triton").__version__
    return tuple(int(part) for part in version.split(".")[:2]) >= (3, 3)


def why_not_triton(dtypes: set[torch.dtype], dim: int) -> str | None:
    """What keeps the Triton kernels from features on a GPU, if anything does."""
    if not triton_installed():
        return "Triton 3.3 or newer is not installed"
    if len(dtypes) > 1:
        return f"images and texts differ in dtype: {' and '.join(sorted(map(str, dtypes)))}"
    if not dtypes <= {torch.float32, torch.bfloat16, torch.float16}:
        return f"they take float32, bfloat16 and float16, not {', '.join(map(str, dtypes))}"
    if not dim % 16 == 0 < dim <= 2048:
        return f"a width of {dim} is no multiple of 16 up to 2048"
    return None


def choose_tiles(image: Tensor, text: Tensor) -> Tiles:
    """Triton on CUDA where it is installed and takes these features, torch elsewhere."""
    if image.device.type == "cuda" and os.environ.get("VLP_TRITON") != "0":
        reason = why_not_triton({image.dtype, text.dtype}, image.shape[1])
        if reason is None:
            from vlp.ops.triton_kernels import TritonTiles

            return TritonTiles()
        _warn_once(reason)
    return TorchTiles(statistics_dtype(image, text), image.device)


@functools.cache
def _warn_once(reason: str) -> None:
    logging.getLogger(__name__).warning(
        "the contrastive loss runs without its Triton kernels, which is slower: %s", reason
    )
