"""How evenly features fill the sphere, for rows that are weighted, without an N x N matrix.

    uniformity          U(z) = log mean over i < j of exp(-2 |z_i - z_j|^2) (Wang & Isola 2020)
    cross uniformity    log mean over i != j of exp(-2 |x_i - y_j|^2) (Fahim et al. 2024); the mean
                        form, which lies log(N - 1) below the sum over j divided by N

0 where all features are equal, the lower the more even. As in a bootstrap, rows i and j count
w_i w_j, and copies of one row never meet.
"""

import torch
from torch import Tensor

from vlp.metrics.modality_gap import ordered_pairs

_CELLS = 1 << 22  # distances held at a time: 32 MB


def uniformity_statistics(image: Tensor, text: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Uniformity of pictures, of texts, their mean, and across; NaN where one row has all weight.

    Args:
        image: [N, D] float64.
        text: [N, D] float64.
        weights: [R, N] float64, zero or more.

    Returns:
        [R] each.
    """
    pictures, texts = uniformity(image, weights), uniformity(text, weights)
    return {
        "image_uniformity": pictures,
        "text_uniformity": texts,
        "uniformity": (pictures + texts) / 2,
        "cross_uniformity": cross_uniformity(image, text, weights),
    }


def uniformity(rows: Tensor, weights: Tensor) -> Tensor:
    """U of rows [N, D] under each of the weights [R, N], [R]."""
    total = rows.new_zeros(len(weights))
    for span in _spans(len(rows)):
        part = _closeness(rows[span], rows[span.start :]).triu_(1)  # [r, N - start]
        total += (weights[:, span] @ part * weights[:, span.start :]).sum(1)
    return (total / (ordered_pairs(weights) / 2)).log()


def cross_uniformity(image: Tensor, text: Tensor, weights: Tensor) -> Tensor:
    """Across pictures and texts [N, D] under each of the weights [R, N], [R]."""
    total = image.new_zeros(len(weights))
    for span in _spans(len(image)):
        part = _closeness(image[span], text)  # [r, N]
        part.diagonal(span.start).zero_()
        total += (weights[:, span] @ part * weights).sum(1)
    return (total / ordered_pairs(weights)).log()


def _closeness(one: Tensor, other: Tensor) -> Tensor:
    """exp(-2 |a - b|^2) for every pair of rows, [n, m]."""
    lengths = one.square().sum(1)[:, None] + other.square().sum(1)  # [n, m]
    return torch.addmm(lengths, one, other.T, alpha=-2).clamp_(min=0).mul_(-2).exp_()


def _spans(rows: int) -> list[slice]:
    step = max(1, _CELLS // rows)
    return [slice(start, min(rows, start + step)) for start in range(0, rows, step)]
