"""Whether a probability means what it says, for zero-shot classification by softmax.

p = softmax(scale * s) over the C classes of similarities s; the confidence of a prediction is
max_c p_c. A prediction that ties is an error, as in `classify`, so a constant model is never right
and its expected calibration error is 1 / C.

    ECE    sum_b (n_b / n) |accuracy_b - confidence_b|, equal-width bins (Guo et al., ICML 2017)
    NLL    mean of -log p_y, natural logarithm
    Brier  mean of sum_c (p_c - [c = y])^2, in [0, 2] (Brier 1950)
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from vlp.metrics.classification import classify

Floats = NDArray[np.float64]
SCALE = 100.0  # exp of CLIP's learned log scale at its upper limit
BINS = 15
_CELLS = 1 << 22  # logits held in float64 at a time: 32 MB
_LOG_TEMPERATURES = (math.log(1e-3), math.log(1e3))


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Samples by confidence in B bins; an empty bin has the accuracy and confidence 0."""

    edges: Floats  # [B + 1], bin b holds edges[b] < confidence <= edges[b + 1], the first also 0
    count: NDArray[np.int64]  # [B]
    accuracy: Floats  # [B]
    confidence: Floats  # [B], mean

    @property
    def expected_error(self) -> float:
        """Mean distance between accuracy and confidence, weighted by samples."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float((self.count * gaps).sum() / self.count.sum())


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Per-sample confidences and outcomes; `metrics` reduces them."""

    confidence: Floats  # [n]
    correct: NDArray[np.bool_]  # [n]
    nll: Floats  # [n]
    brier: Floats  # [n]
    bins: int

    @property
    def reliability(self) -> Reliability:
        return reliability(self.confidence, self.correct, self.bins)

    @property
    def metrics(self) -> dict[str, float]:
        """`ece`, `nll`, `brier`, and `mean_confidence` to set beside the accuracy."""
        return {
            "ece": self.reliability.expected_error,
            "nll": float(self.nll.mean()),
            "brier": float(self.brier.mean()),
            "mean_confidence": float(self.confidence.mean()),
        }


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """What `fit_temperature` found: softmax(logits / temperature)."""

    temperature: float  # above 1 where the model is too sure
    nll: float
    nll_before: float  # at temperature 1
    at_bound: bool  # the search ended at 0.001 or 1000: every or no answer is right


def calibration(
    similarities: Tensor, labels: Tensor, *, scale: float = SCALE, bins: int = BINS
) -> Calibration:
    """Confidence of every sample and whether it was right.

    Args:
        similarities: [n, C] cosine similarities, or logits with a scale of 1.
        labels: [n] integers in [0, C).
        scale: of the logits; divide it by a fitted temperature to apply that.
        bins: of the reliability table.

    Raises:
        ValueError: as `classify`.
    """
    # the similarities, not the logits, decide ties: scaling can make neighbours equal
    correct = classify(similarities, labels).correct()
    parts = []
    for logs, truth in _log_probabilities(similarities, labels, scale):
        p = logs.exp()
        true = logs.gather(1, truth)[:, 0]
        # (p_y - 1)^2 in place of p_y^2
        brier = p.square().sum(1) - 2 * true.exp() + 1
        parts.append(torch.stack([p.amax(1), -true, brier]))
    confidence, nll_, brier_ = torch.cat(parts, 1).cpu().numpy()
    return Calibration(confidence=confidence, correct=correct, nll=nll_, brier=brier_, bins=bins)


def reliability(confidence: Floats, correct: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Accuracy and mean confidence in equal-width bins of confidence.

    Args:
        confidence: [n] in [0, 1].
        correct: [n].
        bins: number of bins.

    Raises:
        ValueError: no sample, lengths that differ, or a confidence outside [0, 1].
    """
    if len(confidence) != len(correct) or len(confidence) == 0 or bins < 1:
        raise ValueError(
            f"calibration needs an outcome for each of one or more confidences, and a bin; got "
            f"{len(confidence)} confidences, {len(correct)} outcomes and {bins} bins"
        )
    if not ((confidence >= 0) & (confidence <= 1)).all():  # also false for NaN
        raise ValueError("confidence: a value outside [0, 1]")
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges[1:-1], confidence)  # [n]
    count = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, values, bins) for values in (correct, confidence)]
    accuracy, mean = (total / np.maximum(count, 1) for total in sums)
    return Reliability(edges=edges, count=count, accuracy=accuracy, confidence=mean)


def expected_calibration_error(
    confidence: Floats, correct: NDArray[np.bool_], bins: int = BINS
) -> float:
    """ECE from [n] confidences and outcomes; errors as `reliability`."""
    return reliability(confidence, correct, bins).expected_error


def nll(similarities: Tensor, labels: Tensor, *, scale: float = SCALE) -> float:
    """Mean negative log-likelihood of the true classes; arguments as `calibration`."""
    total = 0.0
    for logs, truth in _log_probabilities(similarities, labels, scale):
        total -= float(logs.gather(1, truth).sum())
    return total / len(similarities)


def fit_temperature(similarities: Tensor, labels: Tensor, *, scale: float = SCALE) -> Temperature:
    """The temperature that minimises the NLL, searched on a log scale in [0.001, 1000].

    Fit it on held-out samples, never on those that are scored. It is 1 where none does better, as
    for a constant model. Arguments and errors as `calibration`.
    """
    outcome = classify(similarities, labels)

    def loss(log_temperature: float) -> float:
        return nll(similarities, labels, scale=scale / math.exp(log_temperature))

    low, high = _LOG_TEMPERATURES
    if outcome.correct().all():
        found = low  # the lower the better, down to where the loss rounds to zero
    else:
        options = {"xatol": 1e-6}
        found = minimize_scalar(loss, bounds=(low, high), method="bounded", options=options).x
    before, after = loss(0.0), loss(found)
    if not after < before:
        return Temperature(temperature=1.0, nll=before, nll_before=before, at_bound=False)
    return Temperature(
        temperature=math.exp(found),
        nll=after,
        nll_before=before,
        at_bound=bool(min(found - low, high - found) < 1e-3),
    )


def _log_probabilities(
    similarities: Tensor, labels: Tensor, scale: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """(log softmax [rows, C] float64, labels [rows, 1]), a bounded number of rows at a time."""
    labels = labels.to(similarities.device)
    step = max(1, _CELLS // similarities.shape[1])
    for start in range(0, len(similarities), step):
        rows = slice(start, start + step)
        yield (scale * similarities[rows].double()).log_softmax(1), labels[rows, None]
