"""SigLIP's pairwise sigmoid loss from tiles, with the texts of the other ranks passing in a ring.

L = (1/G) Σ_i Σ_j -log σ(z_ij·(s·x_i·y_j + b)), z = +1 for a pair's own text, else -1
(Zhai et al. 2023, arXiv 2303.15343, alg. 1; the exchange of neighbours is its section 3.3).

No term needs a normaliser, so the gradients are made in the forward pass, from the same tile as the
loss: 6·B·G·D operations. A block of texts visits every rank once and what each adds to its gradient
follows one step behind. However many ranks there are, a rank holds besides its own texts two blocks
of others', the one at work and the one that arrives, and with gradients four [B, D] of float32 (or
float64): its images' sums, and of the texts' those that leave, those that arrive and those in the
making. Plain torch on every device, matrix products in float32 or float64.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from vlp.dist import active, rank, world_size
from vlp.ops.contrastive import check_features, feature_gradients, full_precision
from vlp.ops.tiles import CPU_TILE, GPU_TILE, Pairs, softplus, spans, statistics_dtype


def sigmoid_loss(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """A rank's part of the loss of SigLIP of the global batch; the mean over ranks is the loss.

    Gradients are such that those of the parameters are the global batch's after the mean over
    ranks (as DDP takes it): a rank's texts get the gradients of all ranks' values. Every rank calls
    it with equally many rows, and with the same inputs in need of a gradient.

    Args:
        image: [B, D], the rank's own images; any float dtype.
        text: [B, D], the rank's own texts, row i matches row i of `image`.
        scale: [], the factor of the logits.
        bias: [], added to the logits.

    Returns:
        [], (1/B) Σ over own images and the texts of all ranks; float32, or float64 for float64
        features.

    Raises:
        ValueError: shapes or devices that do not fit, or ranks with different numbers of rows. Of
            these a GPU that finds out says so itself, and its process ends.
    """
    check_features(image, text, scale=scale, bias=bias)
    if image.shape != text.shape:
        raise ValueError(f"image is {list(image.shape)} but text is {list(text.shape)}")
    if active():
        _check_rows(text)
    return _apply(image, text, scale, bias)


def _check_rows(text: Tensor) -> None:
    """In every step: ranks that differ might otherwise each take their number for one checked."""
    bounds = torch.full((2,), len(text), device=text.device)  # no copy, which would be waited for
    bounds[1:].neg_()
    dist.all_reduce(bounds, dist.ReduceOp.MAX)
    own = f"text has {len(text)} rows on rank {rank()}"
    rule = "all ranks must hold equally many rows"
    if text.device.type != "cpu":  # the answer is not waited for either
        torch._assert_async(bounds[0] == -bounds[1], f"{own}, but not on every rank; {rule}")
    elif bounds[0] != -bounds[1]:
        found = f"from {-int(bounds[1])} to {int(bounds[0])} over the ranks"
        raise ValueError(f"{own}, but {found}; {rule}")


def _apply(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    # Inside of the function gradients are always off, so it has to be told.
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in (image, text, scale, bias))
    loss: Tensor = _Sigmoid.apply(image, text, scale, bias, wanted)
    return loss


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:  # noqa: ANN401 (autograd's types)
        image, text, scale, bias, wanted = inputs
        dtype = statistics_dtype(image, text)
        pairs = Pairs(image, text, scale.to(dtype))
        work = _Work(pairs, bias.to(dtype), wanted)
        with full_precision(image):
            text_sums = _around_ring(work, text.contiguous())
        if wanted:
            ctx.save_for_backward(image, text, scale, work.image_sums, text_sums, work.bias_sum)
        return work.loss / len(image)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        image, text, scale, image_sums, text_sums, bias_sum = ctx.saved_tensors
        factor = gradient.to(bias_sum.dtype) / len(image)
        pairs = Pairs(image, text, scale.to(bias_sum.dtype))
        sums = (image_sums.clone(), text_sums.clone())  # a second backward finds them as they were
        with full_precision(image):
            gradients = feature_gradients(pairs, sums, factor)
        return *gradients, bias_sum * factor, None


@dataclass
class _Work:
    """The rank's images, and what the blocks of texts have added up to so far."""

    pairs: Pairs
    bias: Tensor
    wanted: bool  # gradients

    def __post_init__(self) -> None:
        self.loss = torch.zeros_like(self.bias)
        self.bias_sum = torch.zeros_like(self.bias)
        self.image_sums = self.no_sums()

    def no_sums(self) -> Tensor:
        image = self.pairs.image
        shape = image.shape if self.wanted else (0,)
        return torch.zeros(shape, dtype=self.bias.dtype, device=image.device)

    def add(self, text: Tensor, own: bool) -> Tensor:
        """Add a block of texts, [B, D]; its sums Σ_i w_ij·x_i, [B, D], if gradients are wanted.

        Args:
            text: texts of a rank.
            own: whether they are this rank's, whose diagonal matches.
        """
        text_sums = self.no_sums()
        dtype = self.bias.dtype
        size = CPU_TILE if text.device.type == "cpu" else GPU_TILE
        for i in spans(len(text), size):
            image = self.pairs.image[i].to(dtype)
            scaled = image * self.pairs.scale
            for j in spans(len(text), size):
                candidates = text[j].to(dtype)
                logits = torch.mm(scaled, candidates.T).add_(self.bias)  # [R, C]
                matches = logits.diagonal()[: len(logits) if own and i == j else 0]
                matches.neg_()
                self.loss += softplus(logits).sum()
                if not self.wanted:
                    continue
                weights = logits.sigmoid_()  # the logits' gradient
                matches.neg_()
                self.bias_sum += weights.sum()
                self.image_sums[i].addmm_(weights, candidates)
                text_sums[j].addmm_(weights.T, image)
        return text_sums


def _around_ring(work: _Work, text: Tensor) -> Tensor:
    """Add the texts of all ranks; what all ranks' images add to the own texts' sums, [B, D].

    At step k this rank works on the texts of rank r - k, while the block travels on to rank r + 1
    and the sums of the block before follow it; after the last step they are home.
    """
    ranks, block = world_size(), text
    sums = work.no_sums()
    for step in range(ranks):
        leaving = [block] if step < ranks - 1 else []
        if work.wanted and step > 0:
            leaving.append(sums)
        arriving, pending = _exchange(leaving)
        partial = work.add(block, own=step == 0)
        for request in pending:
            request.wait()
        if step > 0 and work.wanted:
            partial += arriving.pop()
        sums = partial
        if arriving:
            (block,) = arriving
    if ranks > 1 and work.wanted:
        (sums,), pending = _exchange([sums])
        for request in pending:
            request.wait()
    return sums


def _exchange(leaving: list[Tensor]) -> tuple[list[Tensor], list[dist.Work]]:
    """Start to send tensors to the next rank and to receive such from the one before."""
    arriving = [torch.empty_like(tensor) for tensor in leaving]
    following, previous = (rank() + 1) % world_size(), (rank() - 1) % world_size()
    moves = []
    for tag, (out, into) in enumerate(zip(leaving, arriving, strict=True)):
        moves.append(dist.P2POp(dist.isend, out, following, tag=tag))
        moves.append(dist.P2POp(dist.irecv, into, previous, tag=tag))
    return arriving, dist.batch_isend_irecv(moves) if moves else []
