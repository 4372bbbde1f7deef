"""The dimension of the surface on which features lie, from distances to their nearest neighbours.

TwoNN (Facco et al. 2017): mu = r2 / r1 of the first two distances has P(mu > m) = m^-d. The slope,
through the origin, of -log(1 - i / N) over log mu_i, mu rising, without the tenth of the rows with
the largest mu. (Averaging log mu over the rest instead would give a third too much.)

MLE (Levina & Bickel 2004, averaged as MacKay & Ghahramani 2005): with T_j the distance to the j-th
neighbour, 1 / d = mean over rows of mean over j < k of log(T_k / T_j), k = 20.

Equal rows count once: a copy at distance zero says nothing about dimension.
"""

import math

import torch
from torch import Tensor

_CELLS = 1 << 22  # numbers held at a time: 32 MB
_KEPT = 0.9
NEIGHBORS = 20


def dimensions(rows: Tensor) -> dict[str, float]:
    """`twonn` and `mle` of [N, D].

    NaN for TwoNN with fewer than three different rows, for MLE with 20 or fewer, and for either
    where all distances that it compares are equal.
    """
    distances = neighbor_distances(rows, NEIGHBORS)
    return {"twonn": two_nn(distances), "mle": maximum_likelihood(distances)}


def neighbor_distances(rows: Tensor, k: int) -> Tensor:
    """Distances of different rows to the k nearest others, [n, min(k, n - 1)] float64, rising."""
    rows = torch.unique(rows.double(), dim=0)
    n, width = rows.shape
    k = min(k, n - 1)
    squares = rows.square().sum(1)
    found = []
    step = max(1, _CELLS // max(n, k * width))
    for start in range(0, n, step):
        part = rows[start : start + step]
        near = torch.addmm(squares.expand(len(part), n), part, rows.T, alpha=-2)
        near.diagonal(start).fill_(torch.inf)
        nearest = near.topk(k, dim=1, largest=False).indices  # [r, k]
        # from differences: inner products of close rows cancel
        found.append((rows[nearest] - part[:, None]).norm(dim=2).sort(dim=1).values)
    return torch.cat(found)


def two_nn(distances: Tensor) -> float:
    """From [n, 2 or more] rising distances; NaN where there are fewer, or all pairs are equal."""
    n, k = distances.shape
    if k < 2:
        return math.nan
    ratio = (distances[:, 1] / distances[:, 0]).log().sort().values[: int(_KEPT * n)]
    place = torch.arange(1, len(ratio) + 1, device=ratio.device, dtype=ratio.dtype)
    height = -torch.log1p(-place / n)
    return float((ratio @ height) / (ratio @ ratio))


def maximum_likelihood(distances: Tensor) -> float:
    """From [n, 20] rising distances; NaN where there are fewer, or all are equal."""
    if distances.shape[1] < NEIGHBORS:
        return math.nan
    inverse = float((distances[:, -1:] / distances[:, :-1]).log().mean())
    return 1 / inverse if inverse > 0 else math.nan
