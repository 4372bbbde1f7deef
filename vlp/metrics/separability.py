"""Can a linear classifier tell pictures from texts? (Fahim et al., arXiv 2405.18570.)"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

Floats = NDArray[np.float64]
_HELD_OUT = 5  # one pair of so many


def linear_separability(image: Tensor, text: Tensor, *, seed: int = 0) -> float:
    """Held-out accuracy of telling pictures from texts: 0.5 where they are mixed, 1 where apart.

    Logistic regression with the penalty |w|^2 / 2 on the sum of losses (C = 1), trained on four
    fifths of the pairs. A feature on the boundary counts half, so that features which are all equal
    are mixed.

    Args:
        image: [N, D], two rows or more.
        text: [N, D].
        seed: of the split into pairs that are trained on and held out.
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
