"""Arithmetic on one tile of the logits, in torch, for any device; and who does it on which."""

import importlib
import importlib.util
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

# Sides of a tile. On an idle CPU 512 to 2,048 take the same time (8,192 pairs of 512 numbers); on a
# busy one small tiles lose it waiting for threads, and large ones take memory: 4 MiB each here.
# On a GPU what counts is that few kernels are launched; its size is not measured.
CPU_TILE, GPU_TILE = 1024, 4096


class Pairs(NamedTuple):
    """What a block of logits, scale·image·textᵀ, is made from."""

    image: Tensor  # [R, D]
    text: Tensor  # [C, D]
    scale: Tensor  # []

    def block(self, rows: slice, columns: slice) -> "Pairs":
        return Pairs(self.image[rows], self.text[columns], self.scale)


class Normalisers(NamedTuple):
    """Log-sum-exps of the logits, and the column that matches each row."""

    rows: Tensor  # [R]
    columns: Tensor  # [C]
    targets: Tensor  # [R], column numbers; outside of 0 ... C-1 where the match is in another block

    def block(self, rows: slice, columns: slice) -> "Normalisers":
        return Normalisers(
            self.rows[rows], self.columns[columns], self.targets[rows] - columns.start
        )


class Tiles(Protocol):
    """Three steps on a tile; all statistics and sums are in `dtype`."""

    size: int
    dtype: torch.dtype

    def log_sum_exps(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Log-sum-exp of each row, [R], and of each column, [C]."""
        ...

    def weights(self, pairs: Pairs, normalisers: Normalisers, positive: float) -> Tensor:
        """Softmax over the row + softmax over the column - positive·[column is the match], [R, C].

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

    def log_sum_exps(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        logits, _ = self._logits(pairs)
        return logits.logsumexp(1), logits.logsumexp(0)

    def weights(self, pairs: Pairs, normalisers: Normalisers, positive: float) -> Tensor:
        logits, weights = self._logits(pairs)
        torch.sub(logits, normalisers.rows[:, None], out=weights).exp_()
        weights.add_(logits.sub_(normalisers.columns).exp_())
        # Every row writes one place, matched or not: no boolean index, which a GPU must wait for.
        targets = normalisers.targets
        matched = (targets >= 0) & (targets < weights.shape[1])
        places = targets.clamp(0, weights.shape[1] - 1)[:, None]
        lowered = weights.gather(1, places) - positive * matched[:, None].to(self.dtype)
        return weights.scatter_(1, places, lowered)

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


def spans(length: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` that cover `length`."""
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def statistics_dtype(*tensors: Tensor) -> torch.dtype:
    """float32, or float64 where an input is."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def triton_takes(device: str, dtypes: set[torch.dtype], dim: int) -> bool:
    """Whether the Triton kernels are written for these features."""
    narrow = {torch.float32, torch.bfloat16, torch.float16}
    return (
        device == "cuda" and len(dtypes) == 1 and dtypes <= narrow and dim % 16 == 0 < dim <= 2048
    )


def triton_installed() -> bool:
    """Whether a Triton is here that takes tuples as arguments of kernels (3.3)."""
    if importlib.util.find_spec("triton") is None:
        return False
    version: str = importlib.import_module("triton").__version__
    return tuple(int(part) for part in version.split(".")[:2]) >= (3, 3)


def choose_tiles(image: Tensor, text: Tensor) -> Tiles:
    """Triton on CUDA where it is installed and takes these features, torch elsewhere."""
    dtypes = {image.dtype, text.dtype}
    if triton_takes(image.device.type, dtypes, image.shape[1]) and triton_installed():
        from vlp.ops.triton_kernels import TritonTiles

        return TritonTiles()
    return TorchTiles(statistics_dtype(image, text), image.device)
