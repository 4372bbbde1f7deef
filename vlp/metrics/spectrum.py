"""How many directions features use, from the singular values s of [N, D] rows.

    effective rank        exp of the entropy of s / sum(s) (Roy & Vetterli 2007; RankMe 2023)
    participation ratio   (sum l)^2 / sum l^2, with l = s^2 of centred rows: of the covariance
    k95                   the fewest principal components with 95 % of the variance

All lie between 1, rows along one line, and min(N, D). Rows that are all equal have no variance:
NaN for what is measured after centring.
"""

import torch
from torch import Tensor

_VARIANCE = 0.95


def singular_values(rows: Tensor) -> Tensor:
    """Of [N, D], min(N, D) of them in float64, falling."""
    # the triangle of a QR decomposition has the same ones, and at most D rows
    triangle = torch.linalg.qr(rows.double(), mode="r").R
    values: Tensor = torch.linalg.svdvals(triangle)
    return values


def effective_rank(values: Tensor) -> float:
    """From singular values; NaN where all are zero."""
    return float(torch.special.entr(values / values.sum()).sum().exp())


def participation_ratio(values: Tensor) -> float:
    """From singular values of centred rows; NaN where all are zero."""
    variances = values.square()
    return float(variances.sum().square() / variances.square().sum())


def components_for_variance(values: Tensor) -> float:
    """k95 from singular values of centred rows; NaN where all are zero."""
    shares = values.square().cumsum(0) / values.square().sum()
    if not torch.isfinite(shares).all():
        return float("nan")
    # rounding must not ask for one more component than equal shares need
    return float((shares < _VARIANCE - 1e-12).sum() + 1)
