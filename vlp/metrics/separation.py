"""How well cosines of pairs (x_i, y_i) stand out from those of strangers (x_i, y_j).

    d'      difference of the means over the root of the mean of the variances
    AUROC   probability that a pair scores higher than two strangers, a tie counting half

Scores are rounded to float32, in which equal features tie.
"""

import math

import torch
from torch import Tensor

from vlp.metrics.similarity import pair_scores, similarity_chunks


def separation(image: Tensor, text: Tensor) -> dict[str, float]:
    """`d_prime` and `pair_auroc` of [N, D] pairs, N of two or more, without an N x N matrix.

    d' is NaN where all cosines of pairs are equal, and all of strangers.
    """
    n = len(image)
    rows = torch.arange(n, device=image.device)
    own = pair_scores(image, text, (rows, rows))  # [N]
    rising = own.sort().values
    base = own[0].double()  # sums around it lose nothing, and are zero where all scores are equal
    reached, total, squares = 0, 0.0, 0.0
    for start, scores in similarity_chunks(image, text):
        scores.diagonal(start).fill_(-torch.inf)  # below all pairs: reaches none
        for right in (False, True):
            reached += int(torch.searchsorted(rising, scores, right=right, out_int32=True).sum())
        apart = scores.double() - base
        apart.diagonal(start).zero_()
        total += float(apart.sum())
        squares += float(apart.square().sum())
    strangers = n * (n - 1)
    mean = total / strangers
    variance = max(0.0, squares / strangers - mean**2)
    pairs = own.double() - base
    pooled = (variance + float(pairs.var(correction=0))) / 2
    return {
        "d_prime": (float(pairs.mean()) - mean) / math.sqrt(pooled) if pooled > 0 else math.nan,
        "pair_auroc": 1 - reached / (2 * strangers * n),
    }
