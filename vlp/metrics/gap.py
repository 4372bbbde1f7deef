"""Geometry of paired embeddings: how far pictures and texts lie apart, how they fill the sphere.

As Fahim et al. (arXiv 2405.18570) measure it, for unit rows x_i (pictures) and y_i (their texts):

    centroid distance   |mean x - mean y|, and the cosine between the two means
    separability        accuracy of a logistic regression, picture or text, on held-out pairs
    uniformity          mean of U(x) and U(y), U(z) = log mean_{i<j} exp(-2 |z_i - z_j|^2)
    cross uniformity    log mean_{i != j} exp(-2 |x_i - y_j|^2), the mean over N (N - 1) terms
    alignment           mean |x_i - y_i|^2
    effective rank      exp of the entropy of s / sum(s), s singular values (Roy & Vetterli 2007)

Everything is float64, and no N x N matrix is held.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

Floats = NDArray[np.float64]
_CELLS = 1 << 22  # distances held at a time: 32 MB
_HELD_OUT = 5  # one pair of so many


def gap_metrics(image: Tensor, text: Tensor, *, seed: int = 0) -> dict[str, float]:
    """All of the above.

    Args:
        image: [N, D] unit-norm features of pictures.
        text: [N, D], row i describes picture i.
        seed: of the split into pairs that are trained on and held out.

    Raises:
        ValueError: fewer than two pairs, rows that are no pairs, or no numbers.
    """
    if image.shape != text.shape or len(image) < 2:
        raise ValueError(
            f"the gap needs two or more pairs, got {tuple(image.shape)} and {tuple(text.shape)}"
        )
    if not (torch.isfinite(image).all() and torch.isfinite(text).all()):
        raise ValueError("NaN or infinity among the features")
    x, y = image.double(), text.double()
    center_x, center_y = x.mean(0), y.mean(0)
    return {
        "centroid_distance": float((center_x - center_y).norm()),
        "centroid_cosine": float(torch.cosine_similarity(center_x, center_y, dim=0)),
        "linear_separability": linear_separability(image, text, seed=seed),
        "uniformity": (uniformity(x) + uniformity(y)) / 2,
        "cross_uniformity": cross_uniformity(x, y),
        "alignment": float((x - y).square().sum(1).mean()),
        "image_effective_rank": effective_rank(x),
        "text_effective_rank": effective_rank(y),
    }


def uniformity(rows: Tensor) -> float:
    """log of the mean over i < j of exp(-2 |z_i - z_j|^2), for [N, D]."""
    rows = rows.double()
    total, step = 0.0, _step(len(rows))
    for start in range(0, len(rows), step):
        part = _closeness(rows[start : start + step], rows[start:])  # [r, N - start]
        total += float(part.triu(1).sum())
    return math.log(total / math.comb(len(rows), 2))


def cross_uniformity(image: Tensor, text: Tensor) -> float:
    """log of the mean over i != j of exp(-2 |x_i - y_j|^2), for [N, D] each."""
    image, text = image.double(), text.double()
    total, n = 0.0, len(image)
    step = _step(n)
    for start in range(0, n, step):
        part = _closeness(image[start : start + step], text)  # [r, N]
        part.diagonal(start).zero_()
        total += float(part.sum())
    return math.log(total / (n * (n - 1)))


def effective_rank(rows: Tensor) -> float:
    """From 1 for rows along one line to min(N, D) for rows that use all directions equally."""
    # the triangle of a QR decomposition has the singular values of [N, D], and at most D rows
    triangle = torch.linalg.qr(rows.double(), mode="r").R
    values = torch.linalg.svdvals(triangle)
    return float(torch.special.entr(values / values.sum()).sum().exp())


def linear_separability(image: Tensor, text: Tensor, *, seed: int = 0) -> float:
    """Held-out accuracy of telling pictures from texts: 0.5 where they are mixed, 1 where apart.

    Logistic regression with the penalty |w|^2 / 2 on the sum of losses (C = 1), trained on four
    fifths of the pairs. A feature on the boundary counts half, so that features which are all equal
    are mixed.
    """
    order = np.random.default_rng(seed).permutation(len(image))
    held = max(1, len(order) // _HELD_OUT)
    x, y = (rows.double().cpu().numpy() for rows in (image, text))
    weights, bias = _fit(x[order[held:]], y[order[held:]])
    scores = np.concatenate([x[order[:held]] @ weights + bias, -(y[order[:held]] @ weights) - bias])
    return float(np.mean((scores > 0) + 0.5 * (scores == 0)))


def _fit(positive: Floats, negative: Floats) -> tuple[Floats, float]:
    """Weights [D] and bias of the logistic regression."""
    rows = np.concatenate([positive, negative])
    sign = np.repeat([1.0, -1.0], [len(positive), len(negative)])

    def loss(parameters: Floats) -> tuple[float, Floats]:
        weights, bias = parameters[:-1], parameters[-1]
        margin = sign * (rows @ weights + bias)
        value = np.logaddexp(0.0, -margin).sum() + 0.5 * weights @ weights
        slope = -sign * expit(-margin)  # [2 N]
        return float(value), np.append(rows.T @ slope + weights, slope.sum())

    start = np.zeros(rows.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    return found[:-1], float(found[-1])


def _closeness(one: Tensor, other: Tensor) -> Tensor:
    """exp(-2 |a - b|^2) for every pair of rows, [n, m]."""
    lengths = one.square().sum(1)[:, None] + other.square().sum(1)  # [n, m]
    return (2 * torch.addmm(lengths, one, other.T, alpha=-2).clamp_(min=0)).neg_().exp_()


def _step(rows: int) -> int:
    return max(1, _CELLS // rows)
