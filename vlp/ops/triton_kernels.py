"""The steps on a tile as Triton kernels: no logit is written to memory, only weights are.

A tile here is some thousand rows and columns wide, and kernels cut it into blocks. Every block has
places of its own to write to (no atomic sums), so two runs agree bit for bit. Products accumulate
in float32; float32 features are multiplied as such, never as TF32.
"""

# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

from vlp.ops.tiles import GPU_TILE, Normalisers, Pairs

BLOCK = tl.constexpr(128)  # rows and columns of a block
DEPTH = tl.constexpr(32)  # numbers of a feature that are multiplied at a time
# Softmax over many columns is below float16's smallest numbers; a power of two costs no digits.
GAIN = tl.constexpr(4096.0)


class TritonTiles:
    """The steps of `Tiles` for features of one dtype: float32, bfloat16 or float16."""

    dtype = torch.float32

    def __init__(self, size: int = GPU_TILE) -> None:
        self.size = size
        self._buffer: Tensor | None = None

    def log_sum_exps(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        features, shape, grid = _layout(pairs)
        of_rows = pairs.scale.new_empty((grid[1], shape[0]))
        of_columns = pairs.scale.new_empty((grid[0], shape[1]))
        _log_sum_exps[grid](features, (of_rows, of_columns), shape, num_warps=8)
        return of_rows.logsumexp(0), of_columns.logsumexp(0)

    def weights(self, pairs: Pairs, normalisers: Normalisers, positive: float) -> Tensor:
        features, shape, grid = _layout(pairs)
        area = shape[0] * shape[1]
        if self._buffer is None or self._buffer.numel() < area:
            self._buffer = pairs.image.new_empty(area)
        weights = self._buffer[:area].view(shape[:2])
        _weights[grid](features, tuple(normalisers), positive, weights, shape, num_warps=8)
        return weights

    def add_product(self, total: Tensor, weights: Tensor, features: Tensor) -> None:
        shape = (*weights.shape, features.shape[1])
        grid = (triton.cdiv(shape[0], BLOCK.value), triton.cdiv(shape[2], BLOCK.value))
        _add_product[grid](
            total, weights, weights.stride(), features.contiguous(), shape, num_warps=8
        )


def _layout(
    pairs: Pairs,
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[int, int, int], tuple[int, int]]:
    """Features and scale, (rows, columns, width), and the grid of blocks."""
    features = (pairs.image.contiguous(), pairs.text.contiguous(), pairs.scale)
    rows, columns = len(pairs.image), len(pairs.text)
    grid = (triton.cdiv(rows, BLOCK.value), triton.cdiv(columns, BLOCK.value))
    return features, (rows, columns, pairs.image.shape[1]), grid


@triton.jit
def _logits(features: tl.tuple, rows: tl.tensor, columns: tl.tensor, shape: tl.tuple) -> tl.tensor:
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
        total = tl.dot(x, y, total, input_precision="ieee")
    return total * tl.load(scale)


@triton.jit
def _log_sum_exps(features: tl.tuple, partial: tl.tuple, shape: tl.tuple) -> None:
    """Log-sum-exps of a block's rows and columns, to places of its own."""
    of_rows, of_columns = partial
    n_rows, n_columns, _ = shape
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    logits = _logits(features, rows, columns, shape)
    lowest = float("-inf")

    along = tl.where((columns < n_columns)[None, :], logits, lowest)
    highest = tl.max(along, 1)
    found = highest + tl.log(tl.sum(tl.exp(along - highest[:, None]), 1))
    tl.store(of_rows + tl.program_id(1) * n_rows + rows, found, mask=rows < n_rows)

    along = tl.where((rows < n_rows)[:, None], logits, lowest)
    highest = tl.max(along, 0)
    found = highest + tl.log(tl.sum(tl.exp(along - highest[None, :]), 0))
    tl.store(of_columns + tl.program_id(0) * n_columns + columns, found, mask=columns < n_columns)


@triton.jit
def _weights(
    features: tl.tuple,
    normalisers: tl.tuple,
    positive: tl.tensor,
    weights: tl.tensor,
    shape: tl.tuple,
) -> None:
    """GAIN·(softmax over the row + over the column - positive·[match]) of a block.

    The match is taken off in float32, before rounding: near the end of training what is left of
    it is far smaller than the rounding of either softmax.
    """
    row_norms, column_norms, targets = normalisers
    n_rows, n_columns, _ = shape
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    has_row, has_column = rows < n_rows, columns < n_columns
    logits = _logits(features, rows, columns, shape)
    row_norm = tl.load(row_norms + rows, mask=has_row, other=0.0)
    column_norm = tl.load(column_norms + columns, mask=has_column, other=0.0)
    target = tl.load(targets + rows, mask=has_row, other=-1)
    value = tl.exp(logits - row_norm[:, None]) + tl.exp(logits - column_norm[None, :])
    value -= tl.where(target[:, None] == columns[None, :], positive, 0.0)
    tl.store(
        weights + rows[:, None] * n_columns + columns[None, :],
        (value * GAIN).to(weights.dtype.element_ty),
        mask=has_row[:, None] & has_column[None, :],
    )


@triton.jit
def _add_product(
    total: tl.tensor, weights: tl.tensor, strides: tl.tuple, features: tl.tuple, shape: tl.tuple
) -> None:
    """total [M, W] += weights [M, N] @ features [N, W] / GAIN; a program owns a block of total."""
    n_rows, n_inner, width = shape
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
        product = tl.dot(w, f, product, input_precision="ieee")
    place = total + rows[:, None] * width + depth[None, :]
    inside = has_row & has_depth
    before = tl.load(place, mask=inside, other=0.0)
    tl.store(place, before + product * (1.0 / GAIN), mask=inside)
