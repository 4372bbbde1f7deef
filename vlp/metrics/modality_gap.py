"""How far pictures and their texts lie apart, for pairs that are weighted.

With x_i pictures, y_i their texts, u_i and v_i the same at unit length, d(a, b) = (1 - a . b) / 2:

    centroid distance   |mean x - mean y|, from 0 to 2 (Liang et al. 2022)
    alignment           mean |x_i - y_i|^2 (Wang & Isola 2020)
    centred alignment   the same with each modality's mean taken off, which leaves
                        alignment - (centroid distance)^2
    RMG                 relative modality gap (Schrodi et al. 2024), P / (P + (D_x + D_y) / 2) with
                        P the mean of d(u_i, v_i) and D_x that of d(u_i, u_j), i != j
    positive cosine     mean u_i . v_i
    negative cosine     mean u_i . v_j, i != j

A weight w_i counts pair i so often, as a bootstrap does: pairs i != j of different rows count
w_i w_j, and copies of one row never meet. Sums over i != j follow from sums over i, so that nothing
takes longer than N.
"""

import torch.nn.functional as F
from torch import Tensor


def gap_statistics(image: Tensor, text: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """All of the above, and the cosine of the centroids.

    Args:
        image: [N, D] float64.
        text: [N, D] float64, row i describes picture i.
        weights: [R, N] float64, zero or more.

    Returns:
        [R] each. NaN for RMG where nothing lies apart, and for what needs i != j where only one
        row has a weight.
    """
    total = weights.sum(1)  # [R]
    centers = [weights @ rows / total[:, None] for rows in (image, text)]  # [R, D]
    gap = (centers[0] - centers[1]).norm(dim=1)
    alignment = weights @ (image - text).square().sum(1) / total
    return {
        "centroid_distance": gap,
        "centroid_cosine": F.cosine_similarity(centers[0], centers[1], dim=1),
        "alignment": alignment,
        "centered_alignment": (alignment - gap.square()).clamp(min=0),
        "rmg": relative_modality_gap(image, text, weights),
        **_cosines(F.normalize(image, dim=1), F.normalize(text, dim=1), weights),
    }


def relative_modality_gap(image: Tensor, text: Tensor, weights: Tensor) -> Tensor:
    """RMG, [R] from 0 to 1; NaN also where a row has no direction."""
    u, v = (rows / rows.norm(dim=1, keepdim=True) for rows in (image, text))
    paired = weights @ (u - v).square().sum(1) / 4 / weights.sum(1)  # 1 - u . v = |u - v|^2 / 2
    within = (_spread(u, weights) + _spread(v, weights)) / 2
    gap: Tensor = paired / (paired + within)
    return gap


def centered(rows: Tensor) -> Tensor:
    """Rows [N, D] less their mean: exactly zero where all rows are equal."""
    rows = rows - rows[0]
    return rows - rows.mean(0)


def _spread(rows: Tensor, weights: Tensor) -> Tensor:
    """Mean of |a - b|^2 / 4 over different rows, [R]."""
    rows = rows - rows[0]  # so that equal rows have a spread of exactly zero
    total = weights.sum(1)
    sums = total * (weights @ rows.square().sum(1)) - (weights @ rows).square().sum(1)
    return sums.clamp(min=0) / 2 / ordered_pairs(weights)


def _cosines(u: Tensor, v: Tensor, weights: Tensor) -> dict[str, Tensor]:
    cosine = (u * v).sum(1)  # [N]
    positive = weights @ cosine / weights.sum(1)
    every = ((weights @ u) * (weights @ v)).sum(1)
    negative = (every - weights.square() @ cosine) / ordered_pairs(weights)
    return {
        "positive_cosine": positive,
        "negative_cosine": negative,
        "cosine_margin": positive - negative,
    }


def ordered_pairs(weights: Tensor) -> Tensor:
    """Sum of w_i w_j over i != j, [R]."""
    return weights.sum(1).square() - weights.square().sum(1)
