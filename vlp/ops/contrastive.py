"""Symmetric InfoNCE from tiles: memory grows with the features, not with the matrix of logits.

L = ½ [CE(s·XYᵀ, diagonal) + CE(s·YXᵀ, diagonal)] (Radford et al. 2021, arXiv 2103.00020, fig. 3).
Both directions are the one matrix Z = s·XYᵀ, read by rows and by columns. Forward keeps what
normalises its rows and columns; backward makes each tile again and uses

    ∂L/∂z_ij = [p_row + p_col - 2(1-ε)·[i matches j] - 2ε/G] / 2B,   ε the label smoothing,

so the work is 8·B·G·D operations (forward 2, backward 2 + 2 + 2) and the memory O((B + G)·D). Tiles
for contrastive losses: Cheng et al. 2024 (Inf-CL, arXiv 2410.17243), whose two directions are two
passes. Over ranks a rank owns the rows of its images: the texts alone have to be gathered, and
columns are normalised by all-reduces of 3·G numbers in all.

A row's cross-entropy is log(1 + exp(m)), and 1 - p of its match sigmoid(m), m the log-sum-exp of
its wrong logits less the right one: however small, both have the relative precision of a logit, and
a match never meets itself in a tile, where it is rounded otherwise.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from vlp.dist import active, world_size
from vlp.ops.tiles import (
    Normalisers,
    Pairs,
    Sums,
    Tiles,
    choose_tiles,
    dot,
    softplus,
    spans,
    statistics_dtype,
)


def contrastive_loss(
    image: Tensor, text: Tensor, scale: Tensor | float, *, label_smoothing: float = 0.0
) -> Tensor:
    """The loss of CLIP of one global batch that this process holds whole.

    Args:
        image: [G, D], row i matches row i of `text`; any float dtype.
        text: [G, D].
        scale: [], the factor of the logits; a tensor gets a gradient.
        label_smoothing: share of the target spread evenly over the G candidates, in [0, 1).

    Returns:
        [], float32, or float64 for float64 features.

    Raises:
        ValueError: shapes or devices that do not fit, or a smoothing out of range.
    """
    if not isinstance(scale, Tensor):
        scale = torch.full((), scale, dtype=statistics_dtype(image, text), device=image.device)
    _check(image, text, scale, label_smoothing)
    if image.shape != text.shape:
        raise ValueError(f"image is {list(image.shape)} but text is {list(text.shape)}")
    targets = torch.arange(len(image), device=image.device)
    return _apply(image, text, scale, targets, label_smoothing, distributed=False)


def sharded_contrastive_loss(
    image: Tensor,
    all_text: Tensor,
    scale: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
) -> Tensor:
    """A rank's part of the loss of CLIP of the global batch; the mean over ranks is the loss.

    Gradients are such that those of the parameters are the global batch's after `all_text`'s have
    been summed over ranks (as the gather of `vlp.sources` does) and the mean over ranks taken (as
    DDP does). Every rank calls it, forward and backward, with equally many rows.

    Args:
        image: [B, D], the rank's own images; any float dtype.
        all_text: [G, D], the texts of all ranks in rank order, gathered with gradient.
        scale: [], the factor of the logits; it gets a gradient.
        targets: [B], int64 or int32, the row of `all_text` that matches each image, no two the
            same: arange(B) + rank·B.
        label_smoothing: share of the target spread evenly over the G candidates, in [0, 1).

    Returns:
        [], ½ [mean over own rows + mean over own columns] of the cross-entropies; float32, or
        float64 for float64 features.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, G other than B·ranks, or a smoothing
            out of range.
    """
    _check(image, all_text, scale, label_smoothing)
    # bytes would end at 255, and as an index they are read as a mask, like bools
    if targets.shape != image.shape[:1] or targets.dtype not in (torch.int64, torch.int32):
        raise ValueError(
            f"targets must be {len(image)} numbers of int64 or int32, one a row of image, "
            f"got {list(targets.shape)} of {targets.dtype}"
        )
    _check_device("targets", targets, image)
    if len(all_text) != len(image) * world_size():
        raise ValueError(
            f"all_text has {len(all_text)} rows, but {len(image)} rows of image on each of "
            f"{world_size()} ranks make {len(image) * world_size()}; "
            "all ranks must hold equally many rows"
        )
    return _apply(image, all_text, scale, targets, label_smoothing, distributed=active())


def _check(image: Tensor, text: Tensor, scale: Tensor, label_smoothing: float) -> None:
    check_features(image, text, scale=scale)
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")


def check_features(image: Tensor, text: Tensor, **scalars: Tensor) -> None:
    """Refuse what is no pair of non-empty float matrices of one width and device, with scalars."""
    for name, features in (("image", image), ("text", text)):
        if features.dim() != 2 or 0 in features.shape or not features.is_floating_point():
            raise ValueError(
                f"{name} must be a matrix of floats with at least one row and column, "
                f"got {list(features.shape)} of {features.dtype}"
            )
    if image.shape[1] != text.shape[1] or image.device != text.device:
        raise ValueError(
            f"image is {list(image.shape)} on {image.device} but "
            f"text is {list(text.shape)} on {text.device}"
        )
    for name, scalar in scalars.items():
        if scalar.dim() != 0:
            raise ValueError(f"{name} must have no dimensions, got {list(scalar.shape)}")
        _check_device(name, scalar, image)


def _check_device(name: str, tensor: Tensor, image: Tensor) -> None:
    if tensor.device != image.device:
        raise ValueError(f"{name} is on {tensor.device} but image is on {image.device}")


def _apply(
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    targets: Tensor,
    label_smoothing: float,
    *,
    distributed: bool,
) -> Tensor:
    loss: Tensor = _Contrastive.apply(
        image, text, scale, targets.long(), label_smoothing, distributed
    )
    return loss


class _Contrastive(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:  # noqa: ANN401 (autograd's types)
        image, text, scale, targets, smoothing, distributed = inputs
        tiles = choose_tiles(image, text)
        pairs = Pairs(image, text, scale.to(tiles.dtype))
        with full_precision(image):
            matches = _matches(pairs, targets)
            rows, columns = _wrong(pairs, targets, tiles)
            # the matches of all columns: other ranks' images have most
            all_matches = matches.new_zeros(len(text)).scatter_(0, targets, matches)
            if distributed:
                columns, all_matches = _over_ranks(columns, all_matches)
            of_rows, row_margins = _normalise(rows, matches)
            of_columns, margins = _normalise(columns, all_matches)
            column_margins = margins[targets]
            matched = 2 * smoothing - (row_margins.sigmoid() + column_margins.sigmoid())
            normalisers = Normalisers(*of_rows, *of_columns, targets, matched)
            loss = 0.5 * (softplus(row_margins).mean() + softplus(column_margins).mean())
            if smoothing > 0:
                loss += smoothing * (matches.mean() - _mean_logit(pairs, targets, distributed))
        ctx.save_for_backward(image, text, scale, *normalisers)
        ctx.smoothing = smoothing
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        image, text, scale, *normalisers = ctx.saved_tensors
        tiles = choose_tiles(image, text)
        pairs = Pairs(image, text, scale.to(tiles.dtype))
        for_image, for_text, for_scale = ctx.needs_input_grad[:3]
        # The scale's gradient follows from either side's sums: Σ_ij w_ij·x_i·y_j.
        for_image = for_image or (for_scale and not for_text)
        with full_precision(image):
            image_sums, text_sums = _weighted_sums(
                pairs, Normalisers(*normalisers), ctx.smoothing, tiles, (for_image, for_text)
            )
            factor = gradient.to(tiles.dtype) / (2 * len(image))
            return (
                *feature_gradients(pairs, (image_sums, text_sums), factor),
                *(None, None, None),
            )


def full_precision(tensor: Tensor) -> torch.autocast:
    """Autocast off: logits are exponentiated, and sums over a batch are long."""
    return torch.autocast(tensor.device.type, enabled=False)


def feature_gradients(
    pairs: Pairs, sums: tuple[Tensor | None, Tensor | None], factor: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Gradients of image, text and scale.

    Args:
        pairs: the features and the scale.
        sums: [B, D], Σ_j w_ij·y_j, and [G, D], Σ_i w_ij·x_i, in place; one of them may be missing.
        factor: [], what all weights w still have to be multiplied by.
    """
    images, texts = sums
    if images is not None:
        own, partner = pairs.image, images
    else:
        assert texts is not None
        own, partner = pairs.text, texts
    scale = dot(own, partner) * factor
    features = (
        None if total is None else total.mul_(factor * pairs.scale).to(like.dtype)
        for total, like in ((images, pairs.image), (texts, pairs.text))
    )
    image_gradient, text_gradient = features
    return image_gradient, text_gradient, scale


def _matches(pairs: Pairs, targets: Tensor) -> Tensor:
    """The logits of the matches, [B]."""
    found = pairs.scale.new_empty(len(targets))
    for i in spans(len(found), 1024):
        found[i] = (pairs.image[i].to(found.dtype) * pairs.text[targets[i]]).sum(1)
    return found.mul_(pairs.scale)


def _wrong(pairs: Pairs, targets: Tensor, tiles: Tiles) -> tuple[Sums, Sums]:
    """Of the rows and the columns of this rank's part of the matrix, without the matches."""
    rows, columns = Sums.none(pairs.image, tiles.dtype), Sums.none(pairs.text, tiles.dtype)
    for i in spans(len(pairs.image), tiles.size):
        for j in spans(len(pairs.text), tiles.size):
            of_rows, of_columns = tiles.sums(pairs.block(i, j), targets[i] - j.start)
            rows.add(i, of_rows)
            columns.add(j, of_columns)
    return rows, columns


def _over_ranks(columns: Sums, matches: Tensor) -> tuple[Sums, Tensor]:
    """Columns over the rows of all ranks, and their matches: 0 each on all ranks but one, [G]."""
    highest = columns.highest.clone()
    dist.all_reduce(highest, dist.ReduceOp.MAX)
    joined = torch.stack([columns.total * (columns.highest - highest).exp_(), matches])
    dist.all_reduce(joined)
    return Sums(highest, joined[0]), joined[1]


def _normalise(wrong: Sums, matches: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The two parts of the normalisers, and the log-sum-exps of the wrong logits less the match."""
    log_sum = wrong.total.log()
    margins = (wrong.highest - matches) + log_sum
    return (wrong.highest, torch.logaddexp(log_sum, matches - wrong.highest)), margins


def _mean_logit(pairs: Pairs, targets: Tensor, distributed: bool) -> Tensor:
    """Of own rows and own columns: ½ [mean of the one + mean of the other], [].

    The sum of a row of logits is the image times the sum of the texts: no tile is needed.
    """
    dtype = pairs.scale.dtype
    own_text = pairs.text.new_zeros(pairs.text.shape[1], dtype=dtype)
    for i in spans(len(targets), 1024):
        own_text += pairs.text[targets[i]].sum(0, dtype=dtype)
    own_image = pairs.image.sum(0, dtype=dtype)
    all_image = own_image.clone()
    if distributed:
        dist.all_reduce(all_image)
    total = own_image @ pairs.text.sum(0, dtype=dtype) + own_text @ all_image
    return pairs.scale * total / (2 * len(targets) * len(pairs.text))


def _weighted_sums(
    pairs: Pairs,
    normalisers: Normalisers,
    smoothing: float,
    tiles: Tiles,
    wanted: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Σ_j w_ij·y_j, [B, D], and Σ_i w_ij·x_i, [G, D], w being 2B times the logits' gradient."""
    like = (pairs.image, pairs.text)
    images, texts = (
        torch.zeros(t.shape, dtype=tiles.dtype, device=t.device) if want else None
        for t, want in zip(like, wanted, strict=True)
    )
    for i in spans(len(pairs.image), tiles.size):
        for j in spans(len(pairs.text), tiles.size):
            block = pairs.block(i, j)
            weights = tiles.weights(block, normalisers.block(i, j))
            if images is not None:
                tiles.add_product(images[i], weights, block.text)
            if texts is not None:
                tiles.add_product(texts[j], weights.T, block.image)
    if smoothing > 0:
        evenly = 2 * smoothing / len(pairs.text)
        for total, other in ((images, pairs.text), (texts, pairs.image)):
            if total is not None:
                total.sub_(other.sum(0, dtype=tiles.dtype), alpha=evenly)
    return images, texts
