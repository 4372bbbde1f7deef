"""Telling pictures of the known classes (in) from pictures of anything else (out).

All scores are "higher is more in-distribution", one number per picture, from cosine similarities s
to the C class texts:

    max_logit  scale * max_c s_c
    msp        max_c softmax(scale * s)_c             (Hendrycks & Gimpel, ICLR 2017)
    energy     log sum_c exp(scale * s_c)             (Liu et al., NeurIPS 2020, temperature 1)
    mcm        max_c softmax(s / temperature)_c       (Ming et al., NeurIPS 2022)
    ctw        yes_c at the class of highest p_c      (CLIPN, Wang et al., ICCV 2023)
    atd        sum_c p_c yes_c                        (CLIPN)

The in-distribution pictures are the positives of every measure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
SCALE = 100.0  # exp of CLIP's learned log scale at its upper limit
_CELLS = 1 << 22  # similarities held in float64 at a time: 32 MB
_DECIMALS = 12  # kept of a sum, whose last bits depend on where in a batch its row stands


@dataclass(frozen=True, kw_only=True)
class Separation:
    """How well one score tells in from out."""

    auroc: float
    aupr: float
    fpr95: float
    fpr95_interpolated: float
    tied: float  # share of the pairs (in, out) with equal scores

    @property
    def metrics(self) -> dict[str, float]:
        """`auroc`, `aupr`, `fpr95` and `fpr95_interpolated`."""
        names = ("auroc", "aupr", "fpr95", "fpr95_interpolated")
        return {name: getattr(self, name) for name in names}


def max_logit(similarities: Tensor, *, scale: float = SCALE) -> Floats:
    """[n, C] cosine similarities -> [n], the largest logit."""
    return _by_rows(lambda rows: scale * rows.amax(1), similarities)


def msp(similarities: Tensor, *, scale: float = SCALE) -> Floats:
    """[n, C] cosine similarities -> [n], the largest softmax probability."""
    return _by_rows(lambda rows: (scale * rows).softmax(1).amax(1), similarities)


def energy(similarities: Tensor, *, scale: float = SCALE) -> Floats:
    """[n, C] cosine similarities -> [n], the negative free energy of the logits."""
    return _by_rows(lambda rows: (scale * rows).logsumexp(1), similarities)


def mcm(similarities: Tensor, *, temperature: float = 1.0) -> Floats:
    """[n, C] cosine similarities -> [n], the largest softmax probability of s / temperature."""
    return msp(similarities, scale=1 / temperature)


SCORES: Mapping[str, Callable[[Tensor], Floats]] = MappingProxyType(
    {"msp": msp, "max_logit": max_logit, "energy": energy, "mcm": mcm}
)


def ctw(p: Tensor, yes: Tensor) -> Floats:
    """CLIPN's competing-to-win: how sure the best class is that the picture shows it.

    Args:
        p: [n, C] probabilities of the classes, softmax(scale * s).
        yes: [n, C] probability of "yes" against "no" for each class.

    Returns:
        [n]. Of several classes that share the highest p, the least sure one counts, so that the
        order of the classes does not matter.
    """
    return _by_rows(lambda a, b: b.masked_fill(a < a.amax(1, True), torch.inf).amin(1), p, yes)


def atd(p: Tensor, yes: Tensor) -> Floats:
    """CLIPN's agreeing-to-differ: the probability of any class and of its "yes"; as `ctw`."""
    return _by_rows(lambda a, b: (a * b).sum(1), p, yes)


def separation(inside: Floats, outside: Floats) -> Separation:
    """All measures of one score.

    Args:
        inside: [n] scores of in-distribution pictures.
        outside: [m] scores of out-of-distribution pictures.

    Raises:
        ValueError: no score on one side, or one that is no number.
    """
    counts = counts_by_score(inside, outside)
    return Separation(
        auroc=auroc_of_counts(*counts),
        aupr=_aupr(*counts),
        fpr95=fpr95_of_counts(*counts),
        fpr95_interpolated=_fpr95_interpolated(*counts),
        tied=int(counts[0] @ counts[1]) / (len(inside) * len(outside)),
    )


def auroc(inside: Floats, outside: Floats) -> float:
    """P(in > out) + P(in = out) / 2 over all pairs, counted exactly; as `separation`.

    A constant score gives 0.5.
    """
    return auroc_of_counts(*counts_by_score(inside, outside))


def aupr(inside: Floats, outside: Floats) -> float:
    """Average precision with in as positives: sum of precision times the step in recall.

    Equal scores are one threshold, so a constant score gives the share of in; as `separation`.
    """
    return _aupr(*counts_by_score(inside, outside))


def fpr95(inside: Floats, outside: Floats) -> float:
    """Share of out at or above the threshold that keeps 95 % of in; as `separation`.

    MCM's rule: of the scores that occur, the threshold with the recall nearest to 0.95. Of two that
    are as near the lower one counts, which is never in the model's favour; no threshold is lower
    than the lowest score of in. A constant score gives 1.
    """
    return fpr95_of_counts(*counts_by_score(inside, outside))


def fpr95_interpolated(inside: Floats, outside: Floats) -> float:
    """False-positive rate where the piecewise linear ROC curve first reaches a recall of 0.95.

    CLIPN's rule; as `separation`. A constant score gives 0.95, which is chance.
    """
    return _fpr95_interpolated(*counts_by_score(inside, outside))


def counts_by_score(inside: Floats, outside: Floats) -> tuple[Counts, Counts]:
    """How many of in and of out have each of the k scores that occur, rising, [k] each."""
    _check(inside, outside)
    place = np.unique(np.concatenate([inside, outside]), return_inverse=True)[1]
    k = int(place.max()) + 1
    n = len(inside)
    return np.bincount(place[:n], minlength=k), np.bincount(place[n:], minlength=k)


def auroc_of_counts(inside: Counts, outside: Counts) -> float:
    """`auroc` from `counts_by_score`; a score that neither has changes nothing."""
    below = outside.cumsum() - outside
    twice = inside @ (2 * below + outside)
    return int(twice) / (2 * int(inside.sum()) * int(outside.sum()))


def fpr95_of_counts(inside: Counts, outside: Counts) -> float:
    """`fpr95` from `counts_by_score`; a score that neither has changes nothing."""
    positive, negative = _from_the_top(inside), _from_the_top(outside)
    n = positive[-1]
    distance = np.abs(20 * positive - 19 * n)  # integers: 0.95 is no binary fraction
    distance = distance[: 1 + int((positive == n).argmax())]
    last = len(distance) - 1 - int(distance[::-1].argmin())
    return float(negative[last] / negative[-1])


def _aupr(inside: Counts, outside: Counts) -> float:
    positive, negative = _from_the_top(inside), _from_the_top(outside)
    return float((inside[::-1] * positive / (positive + negative)).sum() / positive[-1])


def _fpr95_interpolated(inside: Counts, outside: Counts) -> float:
    positive, negative = _from_the_top(inside), _from_the_top(outside)
    recall = np.concatenate([[0.0], positive / positive[-1]])
    rate = np.concatenate([[0.0], negative / negative[-1]])
    high = int(np.searchsorted(recall, 0.95))  # the first that is not below
    share = (0.95 - recall[high - 1]) / (recall[high] - recall[high - 1])
    return float(rate[high - 1] + share * (rate[high] - rate[high - 1]))


def _from_the_top(counts: Counts) -> Counts:
    """How many have at least each score, the highest first, [k]."""
    total: Counts = counts[::-1].cumsum()
    return total


def _check(inside: Floats, outside: Floats) -> None:
    for name, scores in (("inside", inside), ("outside", outside)):
        if scores.ndim != 1 or len(scores) == 0:
            raise ValueError(f"{name}: needs one or more scores, got the shape {scores.shape}")
        if not np.isfinite(scores).all():
            raise ValueError(f"{name}: NaN or infinity among the scores")


def _by_rows(score: Callable[..., Tensor], *columns: Tensor) -> Floats:
    """Apply a score to [n, C] in float64, a bounded number of rows at a time."""
    shape = columns[0].shape
    if len(shape) != 2 or 0 in shape or any(column.shape != shape for column in columns):
        shapes = " and ".join(str(tuple(column.shape)) for column in columns)
        raise ValueError(f"scores need pictures x classes, [n, C] with n and C > 0, got {shapes}")
    if not all(torch.isfinite(column).all() for column in columns):
        raise ValueError("NaN or infinity among the similarities; the features are broken")
    step = max(1, _CELLS // shape[1])
    parts = []
    for start in range(0, shape[0], step):
        rows = (column[start : start + step].double() for column in columns)
        parts.append(torch.round(score(*rows), decimals=_DECIMALS))
    return np.asarray(torch.cat(parts).cpu().numpy(), dtype=np.float64)
