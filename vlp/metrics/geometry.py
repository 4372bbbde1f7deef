"""Geometry of paired embeddings: how far pictures and texts lie apart, how they fill the sphere.

Definitions and sources are with the parts: `modality_gap`, `uniformity`, `spectrum`, `hubness`,
`intrinsic_dimension`, `separation` and `separability`. Everything is float64 or ranks of scores, is
the same for the same input, and holds no N x N matrix. What is not defined is NaN.
"""

import numpy as np
import torch
from torch import Tensor

from vlp.metrics.bootstrap import Interval, percentiles
from vlp.metrics.hubness import hubness, mutual_overlap
from vlp.metrics.intrinsic_dimension import dimensions
from vlp.metrics.modality_gap import centered, gap_statistics, relative_modality_gap
from vlp.metrics.separability import linear_separability
from vlp.metrics.separation import separation
from vlp.metrics.similarity import lengths
from vlp.metrics.spectrum import (
    components_for_variance,
    effective_rank,
    participation_ratio,
    singular_values,
)
from vlp.metrics.uniformity import uniformity_statistics

RESAMPLES = 200


@torch.no_grad()
def geometry_metrics(image: Tensor, text: Tensor, *, seed: int = 0) -> dict[str, float]:
    """All of the geometry.

    Not defined, and NaN: `rmg` where all features are equal; `centered_rmg` where those of one
    modality are, or where a row is exactly their mean; `image_centered_effective_rank`,
    `image_participation_ratio` and `image_k95` where all rows are equal; `image_twonn` and
    `image_mle` with fewer than 3 and 21 different rows, or where all are equally far apart;
    `image_hubness_*` and `mutual_knn_overlap` with 10 and 11 pairs or fewer; `image_hubness_skew`
    where all are equally often neighbours; `d_prime` where cosines do not vary. The same for texts.

    `text_hubness_*` is about texts among the 10 nearest of pictures, `image_hubness_*` about
    pictures among the 10 nearest of texts.

    Args:
        image: [N, D] unit-norm features of pictures.
        text: [N, D], row i describes picture i.
        seed: of the split into pairs that the separability is trained on and held out.

    Raises:
        ValueError: fewer than two pairs, rows that are no pairs, or features that are no numbers or
            all zero.
    """
    x, y = _checked(image, text)
    ones = x.new_ones(1, len(x))
    values = gap_statistics(x, y, ones) | uniformity_statistics(x, y, ones)
    apart = relative_modality_gap(centered(x), centered(y), ones)
    return {
        **{name: float(value) for name, value in values.items()},
        "centered_rmg": float(apart),
        "linear_separability": linear_separability(x, y, seed=seed),
        **separation(x, y),
        "mutual_knn_overlap": mutual_overlap(x, y),
        **_prefixed("image", _shape(x) | _prefixed("hubness", hubness(y, x))),
        **_prefixed("text", _shape(y) | _prefixed("hubness", hubness(x, y))),
    }


@torch.no_grad()
def geometry_intervals(image: Tensor, text: Tensor, *, seed: int = 0) -> dict[str, Interval | None]:
    """95 % percentile intervals of what sums over pairs, or over pairs of pairs.

    200 resamples of N pairs with replacement, given as the multinomial weights that they are. Where
    a metric is a mean over i != j, only pairs of different rows count, as a copy of a row would
    bring in distances of zero that the metric itself never sees. The time is that of two passes of
    the uniformities; memory grows with 200 N. The interval of the centroid distance is one of a
    length, which no resample can make negative: where the true gap is far below the noise of the
    centroids, it lies too high.

    Args:
        image: [N, D] unit-norm features of pictures.
        text: [N, D], row i describes picture i.
        seed: of the resampling.

    Returns:
        Intervals by the names of `geometry_metrics`; None where some resample leaves the metric
        undefined, as it may with a handful of pairs.

    Raises:
        ValueError: as `geometry_metrics`.
    """
    x, y = _checked(image, text)
    n = len(x)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), RESAMPLES)  # [R, N]
    weights = torch.from_numpy(drawn.astype(np.float64)).to(x.device)
    values = gap_statistics(x, y, weights) | uniformity_statistics(x, y, weights)
    return {
        name: percentiles(found.cpu().numpy()) if torch.isfinite(found).all() else None
        for name, found in values.items()
    }


def _checked(image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64."""
    if image.shape != text.shape or len(image) < 2:
        raise ValueError(
            f"geometry needs two or more pairs, got {tuple(image.shape)} and {tuple(text.shape)}"
        )
    for name, rows in (("image", image), ("text", text)):
        if bool((lengths(name, rows) == 0).any()):
            raise ValueError(f"{name}: a feature of length zero has no direction")
    return image.double(), text.double()


def _shape(rows: Tensor) -> dict[str, float]:
    """What one modality looks like by itself."""
    spread = singular_values(centered(rows))
    return {
        "effective_rank": effective_rank(singular_values(rows)),
        "centered_effective_rank": effective_rank(spread),
        "participation_ratio": participation_ratio(spread),
        "k95": components_for_variance(spread),
        **dimensions(rows),
    }


def _prefixed(prefix: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in values.items()}
