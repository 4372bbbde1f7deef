"""Neighbourhoods: hubs that are near to too many queries, and whether two modalities agree.

N_k(j) is how many queries have j among their k nearest of the gallery (Radovanovic et al. 2010).
Of a tie for the last places each gets its share, as if it were broken at random, so that a model
that makes all features equal has no hubs, and no order of rows changes a number.

    skew            of N_k: large where few hubs take most places
    robin hood      share of places that would have to change hands for all to have the same number
    antihub share   rows that are nobody's neighbour
    max             the largest N_k
    mutual overlap  mean share of a picture's k nearest pictures whose texts are among the k nearest
                    texts of its text (Huh et al. 2024); k / (N - 1) where there is no relation
"""

import math

import torch
from torch import Tensor

from vlp.metrics.similarity import similarity_chunks

NEIGHBORS = 10


def hubness(queries: Tensor, gallery: Tensor, k: int = NEIGHBORS) -> dict[str, float]:
    """`skew`, `robin_hood`, `antihub_share` and `max` of the rows of a gallery.

    NaN for a gallery of k rows or fewer, which all are everybody's neighbours, and for the skew
    where all are neighbours equally often.

    Args:
        queries: [Q, D] unit-norm features.
        gallery: [G, D] unit-norm features.
        k: neighbours of each query.
    """
    if len(gallery) <= k:
        return dict.fromkeys(("skew", "robin_hood", "antihub_share", "max"), math.nan)
    taken = torch.zeros(len(gallery), dtype=torch.float64, device=gallery.device)
    for _, scores in similarity_chunks(queries, gallery):
        taken += membership(scores, k).sum(0)
    apart = taken - taken.mean()
    deviation = apart.square().mean().sqrt()
    even = bool(deviation < 1e-9 * taken.mean())  # shares of ties do not add up to the last bit
    return {
        "skew": math.nan if even else float((apart / deviation).pow(3).mean()),
        "robin_hood": 0.0 if even else float(apart.abs().sum() / 2 / taken.sum()),
        "antihub_share": float((taken == 0).double().mean()),
        "max": float(taken.max()),
    }


def mutual_overlap(image: Tensor, text: Tensor, k: int = NEIGHBORS) -> float:
    """Of [N, D] pairs, from 0 to 1; NaN for k + 1 rows or fewer, where all are neighbours."""
    n = len(image)
    if n <= k + 1:
        return math.nan
    shared = 0.0
    both = zip(similarity_chunks(image, image), similarity_chunks(text, text), strict=True)
    for (start, pictures), (_, texts) in both:
        for scores in (pictures, texts):
            scores.diagonal(start).fill_(-torch.inf)  # nobody is a neighbour of itself
        shared += float((membership(pictures, k) * membership(texts, k)).sum())
    return shared / (n * k)


def membership(scores: Tensor, k: int) -> Tensor:
    """Probability to be among the k best of a row when ties are broken at random.

    Args:
        scores: [q, g], g > k.
        k: places.

    Returns:
        [q, g] float64, k a row.
    """
    worst = scores.topk(k, dim=1).values[:, -1:]  # [q, 1]
    above, equal = scores > worst, scores == worst
    room = k - above.sum(1, keepdim=True)
    return above + equal * (room.double() / equal.sum(1, keepdim=True))
