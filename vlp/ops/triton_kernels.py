"""The steps on a tile as Triton kernels: no logit is written to memory, only weights are.

A tile here is some thousand rows and columns wide, and kernels cut it into blocks. Every block has
places of its own to write to (no atomic sums), so two runs agree bit for bit. Products accumulate
in float32. Where tensor cores are fast enough for it, float32 features are multiplied on them, each
number as the sum of two of TF32: of the four products the three that float32 can tell.
"""

# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from vlp.ops.tiles import GPU_TILE, Normalisers, Pairs, Sums

BLOCK = tl.constexpr(128)  # rows and columns of a block
DEPTH = tl.constexpr(32)  # numbers of a feature that are multiplied at a time
# Softmax over many columns is below float16's smallest numbers; a power of two costs no digits.
GAIN = tl.constexpr(4096.0)
LOWEST = tl.constexpr(torch.finfo(torch.float32).min)  # of a match, among the wrong logits
# GPUs that multiply TF32 at least three times as fast as float32. The others of capability 8.0 and
# more, made for workstations, do so at once to twice the speed, and it takes three products.
TF32_IS_FAST = {(8, 0), (9, 0), (10, 0), (10, 3)}


class TritonTiles:
    """The steps of `Tiles` for features of one dtype: float32, bfloat16 or float16."""

    dtype = torch.float32

    def __init__(self, size: int = GPU_TILE) -> None:
        self.size = size
        self._buffer: Tensor | None = None

    def sums(self, pairs: Pairs, targets: Tensor) -> tuple[Sums, Sums]:
        features, shape, grid = _layout(pairs)
        of_rows = pairs.image.new_empty((2, grid[1], shape[0]), dtype=self.dtype)
        of_columns = pairs.image.new_empty((2, grid[0], shape[1]), dtype=self.dtype)
        outputs = (*of_rows, *of_columns)
        _launch(_sums, grid, pairs.image, (features, targets, outputs, shape))
        return _joined(of_rows), _joined(of_columns)

    def weights(self, pairs: Pairs, normalisers: Normalisers) -> Tensor:
        features, shape, grid = _layout(pairs)
        area = shape[0] * shape[1]
        if self._buffer is None or self._buffer.numel() < area:
            self._buffer = pairs.image.new_empty(area)
        weights = self._buffer[:area].view(shape[:2])
        _launch(_weights, grid, pairs.image, (features, tuple(normalisers), weights, shape))
        return weights

    def add_product(self, total: Tensor, weights: Tensor, features: Tensor) -> None:
        shape = (*weights.shape, features.shape[1])
        grid = (triton.cdiv(shape[0], BLOCK.value), triton.cdiv(shape[2], BLOCK.value))
        matrix = (weights, weights.stride())
        _launch(_add_product, grid, features, (total, matrix, features.contiguous(), shape))


def _launch(
    kernel: Any,  # noqa: ANN401 (Triton has no types)
    grid: tuple[int, int],
    features: Tensor,
    arguments: tuple[Any, ...],
) -> None:
    """On the device of the features, which need not be the current one that Triton launches on."""
    with torch.cuda.device_of(features):  # type: ignore[no-untyped-call]
        kernel[grid](*arguments, precision(features), num_warps=8)


def precision(features: Tensor) -> str:
    """How float32 is multiplied; of narrower numbers every product is exact."""
    if (
        features.dtype == torch.float32
        and features.device.type == "cuda"
        and torch.version.hip is None
        and torch.cuda.get_device_capability(features.device) in TF32_IS_FAST
    ):
        return "tf32x3"
    return "ieee"


def _joined(parts: Tensor) -> Sums:
    """Of whole rows or columns, [N], from the sums of their blocks, [2, blocks, N]."""
    highest = parts[0].amax(0)
    return Sums(highest, (parts[1] * (parts[0] - highest).exp_()).sum(0))


def _layout(
    pairs: Pairs,
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[int, int, int], tuple[int, int]]:
    """Features and scale, (rows, columns, width), and the grid of blocks."""
    features = (pairs.image.contiguous(), pairs.text.contiguous(), pairs.scale)
    rows, columns = len(pairs.image), len(pairs.text)
    grid = (triton.cdiv(rows, BLOCK.value), triton.cdiv(columns, BLOCK.value))
    return features, (rows, columns, pairs.image.shape[1]), grid


@triton.jit
def _logits(
    features: tl.tuple,
    rows: tl.tensor,
    columns: tl.tensor,
    shape: tl.tuple,
    float32: tl.constexpr,
) -> tl.tensor:
    """A block of logits; 0 where a row or a column does not exist."""
    image, text, scale = features
    n_rows, n_columns, width = shape
    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    for start in range(0, width, DEPTH):
        depth = start + tl.arange(0, DEPTH)
        inside = depth < width
        x = tl.load(
            image + rows[:, None] * width + depth[None, :],
            mask=(rows < n_rows)[:, None] & inside[None, :],
            other=0.0,
        )
        y = tl.load(
            text + columns[None, :] * width + depth[:, None],
            mask=(columns < n_columns)[None, :] & inside[:, None],
            other=0.0,
        )
        total = tl.dot(x, y, total, input_precision=float32)
    return total * tl.load(scale)


@triton.jit
def _sums(
    features: tl.tuple,
    targets: tl.tensor,
    partial: tl.tuple,
    shape: tl.tuple,
    float32: tl.constexpr,
) -> None:
    """Highest wrong logits of a block's rows and columns and sums, to places of its own."""
    row_highest, row_total, column_highest, column_total = partial
    n_rows, n_columns, _ = shape
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    has_row, has_column = rows < n_rows, columns < n_columns
    logits = _logits(features, rows, columns, shape, float32)
    target = tl.load(targets + rows, mask=has_row, other=-1)
    wrong = target[:, None] != columns[None, :]

    along = tl.where(wrong & has_column[None, :], logits, LOWEST)
    highest = tl.max(along, 1)
    places = tl.program_id(1) * n_rows + rows
    tl.store(row_highest + places, highest, mask=has_row)
    total = tl.sum(tl.exp(along - highest[:, None]), 1)
    tl.store(row_total + places, total, mask=has_row)

    along = tl.where(wrong & has_row[:, None], logits, LOWEST)
    highest = tl.max(along, 0)
    places = tl.program_id(0) * n_columns + columns
    tl.store(column_highest + places, highest, mask=has_column)
    total = tl.sum(tl.exp(along - highest[None, :]), 0)
    tl.store(column_total + places, total, mask=has_column)


@triton.jit
def _weights(
    features: tl.tuple,
    normalisers: tl.tuple,
    weights: tl.tensor,
    shape: tl.tuple,
    float32: tl.constexpr,
) -> None:
    """GAIN·(softmax over the row + over the column) of a block, and GAIN·matched at the matches."""
    row_highest, row_log_sum, column_highest, column_log_sum, targets, matched = normalisers
    n_rows, n_columns, _ = shape
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    has_row, has_column = rows < n_rows, columns < n_columns
    logits = _logits(features, rows, columns, shape, float32)
    highest = tl.load(row_highest + rows, mask=has_row, other=0.0)
    log_sum = tl.load(row_log_sum + rows, mask=has_row, other=0.0)
    value = tl.exp((logits - highest[:, None]) - log_sum[:, None])
    highest = tl.load(column_highest + columns, mask=has_column, other=0.0)
    log_sum = tl.load(column_log_sum + columns, mask=has_column, other=0.0)
    value += tl.exp((logits - highest[None, :]) - log_sum[None, :])
    target = tl.load(targets + rows, mask=has_row, other=-1)
    known = tl.load(matched + rows, mask=has_row, other=0.0)
    value = tl.where(target[:, None] == columns[None, :], known[:, None], value)
    tl.store(
        weights + rows[:, None] * n_columns + columns[None, :],
        (value * GAIN).to(weights.dtype.element_ty),
        mask=has_row[:, None] & has_column[None, :],
    )


@triton.jit
def _add_product(
    total: tl.tensor,
    matrix: tl.tuple,
    features: tl.tensor,
    shape: tl.tuple,
    float32: tl.constexpr,
) -> None:
    """total [M, W] += weights [M, N] @ features [N, W] / GAIN; a program owns a block of total."""
    n_rows, n_inner, width = shape
    weights, strides = matrix
    row_stride, inner_stride = strides
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    depth = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    has_row, has_depth = (rows < n_rows)[:, None], (depth < width)[None, :]
    product = tl.zeros((BLOCK, BLOCK), tl.float32)
    for start in range(0, n_inner, DEPTH):
        inner = start + tl.arange(0, DEPTH)
        w = tl.load(
            weights + rows[:, None] * row_stride + inner[None, :] * inner_stride,
            mask=has_row & (inner < n_inner)[None, :],
            other=0.0,
        )
        f = tl.load(
            features + inner[:, None] * width + depth[None, :],
            mask=(inner < n_inner)[:, None] & has_depth,
            other=0.0,
        )
        product = tl.dot(w, f, product, input_precision=float32)
    place = total + rows[:, None] * width + depth[None, :]
    inside = has_row & has_depth
    before = tl.load(place, mask=inside, other=0.0)
    tl.store(place, before + product * (1.0 / GAIN), mask=inside)
