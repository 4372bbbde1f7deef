"""Training-free adaptation of a zero-shot classifier with a few labelled pictures.

With f the features of a picture, w_c the classifier's row of class c, and a support set of n
features F with labels, all of unit norm:

    GDA   100 f w_c + alpha (f W_c + b_c), W = mu P, b_c = -mu_c P mu_c / 2 + log(1 / C),
          P = D ((n - 1) S + tr(S) I)^-1, mu the class means, S the covariance within the classes
          (Wang et al., A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation, ICLR 2024)
    Tip   100 f w_c + alpha sum_{i of class c} exp(-beta (1 - f F_i))
          (Zhang et al., Tip-Adapter, ECCV 2022)
    k-NN  sum over the k nearest F_i of class c of exp(f F_i / tau), without the classifier
          (the weighted vote of Caron et al., DINO, ICCV 2021)

alpha and beta are chosen on validation samples, never on those that are scored. Logits are summed
in float64 and rounded to float32, so that equal features give equal logits. No n_test x n_support
matrix is held: a bounded number of its cells at a time.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vlp.metrics.classification import Classification, classify
from vlp.metrics.probe import LabelledFeatures
from vlp.metrics.similarity import just_below, similarity_chunks

SCALE = 100.0  # of the zero-shot similarities, as both papers have it
GDA_ALPHAS = tuple(10.0**exponent for exponent in range(-4, 3))
# the ranges of Tip-Adapter's ImageNet settings, which takes 200 values of beta
TIP_ALPHAS = tuple(0.1 + i * (3 - 0.1) / 20 for i in range(20))
TIP_BETAS = tuple(0.1 + i * (7 - 0.1) / 20 for i in range(20))
_CELLS = 1 << 22  # logits held in float64 at a time: 32 MB
_NO_SPREAD = 1e-12  # variance that rounding gives to features that are all equal


@dataclass(frozen=True, kw_only=True, eq=False)
class Gda:
    """Gaussian discriminant analysis: f weight^T + bias."""

    weight: Tensor  # [C, D] float64, zero where the features of each class are all equal
    bias: Tensor  # [C] float64


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting and its accuracy on the validation samples."""

    alpha: float
    beta: float | None  # None for GDA, which has none
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Search:
    """The best setting, the first in the order of the grid of several, and all that were tried."""

    best: Trial
    trials: tuple[Trial, ...]


def fit_gda(support: LabelledFeatures) -> Gda:
    """Class means and one shrunk precision matrix from unit-norm features.

    A single sample of each class leaves no covariance: S = 0, of which the pseudo-inverse is 0, and
    GDA adds nothing to zero-shot.

    Raises:
        ValueError: a class without a sample.
    """
    counts = support.counts()
    if counts.min() == 0:
        raise ValueError(
            f"support: GDA needs a sample of every class; class {int(counts.argmin())} has none"
        )
    features, labels = support.features.double(), support.labels
    n, width = features.shape
    means = _class_sums(features.T, labels, support.classes).T  # [C, D]
    means /= torch.from_numpy(counts).to(means)[:, None]
    scatter = features.new_zeros(width, width)  # (n - 1) S
    step = max(1, _CELLS // width)
    for start in range(0, n, step):
        rows = slice(start, start + step)
        centred = features[rows] - means[labels[rows]]
        scatter.addmm_(centred.T, centred)
    trace = scatter.trace() / max(1, n - 1)
    if float(trace) < _NO_SPREAD:
        weight = torch.zeros_like(means)
    else:
        shrunk = scatter + trace * torch.eye(width).to(scatter)
        weight = width * torch.cholesky_solve(means.T, torch.linalg.cholesky(shrunk)).T
    bias = -math.log(support.classes) - (weight * means).sum(1) / 2
    return Gda(weight=weight, bias=bias)


def gda_logits(queries: Tensor, classifier: Tensor, gda: Gda, *, alpha: float) -> Tensor:
    """Logits of GDA, [q, C] float32.

    Args:
        queries: [q, D] unit-norm features.
        classifier: [C, D] unit-norm features of the class texts.
        gda: from `fit_gda`.
        alpha: weight of GDA against the zero-shot logits, from `search_gda`.

    Raises:
        ValueError: features that are no numbers or of other shapes.
    """
    parts = _gda_parts(queries, classifier, gda)
    return torch.cat([(zero + alpha * own).float() for _, zero, own in parts])


def search_gda(
    validation: LabelledFeatures,
    classifier: Tensor,
    gda: Gda,
    *,
    alphas: Sequence[float] = GDA_ALPHAS,
) -> Search:
    """Choose alpha by validation accuracy; arguments and errors as `gda_logits`."""
    hits = [0] * len(alphas)
    for rows, zero, own in _gda_parts(validation.features, classifier, gda):
        for a, alpha in enumerate(alphas):
            hits[a] += _hits(zero + alpha * own, validation.labels[rows])
    return _search([(alpha, None) for alpha in alphas], hits, len(validation.labels))


def tip_logits(
    queries: Tensor, classifier: Tensor, support: LabelledFeatures, *, alpha: float, beta: float
) -> Tensor:
    """Logits of Tip-Adapter without training, [q, C] float32.

    Args:
        queries: [q, D] unit-norm features.
        classifier: [C, D] unit-norm features of the class texts.
        support: the cache, unit-norm features; the paper averages those of ten crops of a picture.
        alpha: weight of the cache against the zero-shot logits, from `search_tip`.
        beta: sharpness of the affinity.

    Raises:
        ValueError: features that are no numbers or of other shapes.
    """
    parts = []
    for _, zero, affinity in _tip_parts(queries, classifier, support):
        parts.append((zero + alpha * _cached(affinity, support, beta)).float())
    return torch.cat(parts)


def search_tip(
    validation: LabelledFeatures,
    classifier: Tensor,
    support: LabelledFeatures,
    *,
    alphas: Sequence[float] = TIP_ALPHAS,
    betas: Sequence[float] = TIP_BETAS,
) -> Search:
    """Choose beta and alpha by validation accuracy; arguments and errors as `tip_logits`."""
    grid = [(alpha, beta) for beta in betas for alpha in alphas]
    hits = [0] * len(grid)
    for rows, zero, affinity in _tip_parts(validation.features, classifier, support):
        for b, beta in enumerate(betas):
            own = _cached(affinity, support, beta)
            for a, alpha in enumerate(alphas):
                cell = b * len(alphas) + a
                hits[cell] += _hits(zero + alpha * own, validation.labels[rows])
    return _search(grid, hits, len(validation.labels))


def nearest_neighbours(
    queries: LabelledFeatures, support: LabelledFeatures, *, k: int = 20, tau: float = 0.07
) -> Classification:
    """Classify by the weighted vote of the k nearest support features; the scores are the votes.

    Where more features are equally near than there are places, those of wrong classes come first.

    Args:
        queries: unit-norm features with their true classes.
        support: unit-norm features that vote.
        k: voters.
        tau: temperature of the weights.

    Raises:
        ValueError: fewer than k support features, or shapes or classes that differ.
    """
    _check(queries.features, support.features, queries.classes, support.classes)
    if not 1 <= k <= len(support.labels):
        raise ValueError(f"k: {k} neighbours of {len(support.labels)} support features")
    parts = []
    for rows, scores in _similarities(queries.features, support):
        own = support.labels == queries.labels[rows, None]  # [r, n]
        order = torch.where(own, just_below(scores), scores)
        near = order.topk(k, dim=1).indices  # [r, k]
        weights = (scores.gather(1, near).double() / tau).exp()
        votes = weights.new_zeros(len(scores), support.classes)
        for voter in range(k):  # one at a time: the same order of summation on every device
            column = slice(voter, voter + 1)
            votes.scatter_add_(1, support.labels[near[:, column]], weights[:, column])
        parts.append(votes.float())
    return classify(torch.cat(parts), queries.labels)


def _gda_parts(
    queries: Tensor, classifier: Tensor, gda: Gda
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """(rows, zero-shot logits, GDA's logits), [r, C] float64 each."""
    _check(queries, classifier, len(classifier), len(gda.weight))
    texts = SCALE * classifier.double().T
    step = max(1, _CELLS // max(classifier.shape))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        features = queries[rows].double()
        yield rows, features @ texts, torch.addmm(gda.bias, features, gda.weight.T)


def _tip_parts(
    queries: Tensor, classifier: Tensor, support: LabelledFeatures
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """(rows, zero-shot logits [r, C] float64, similarities to the support [r, n] float64)."""
    _check(queries, classifier, len(classifier), support.classes)
    _check(queries, support.features, len(classifier), support.classes)
    texts = SCALE * classifier.double().T
    for rows, scores in _similarities(queries, support):
        yield rows, queries[rows].double() @ texts, scores.double()


def _cached(affinity: Tensor, support: LabelledFeatures, beta: float) -> Tensor:
    """Tip-Adapter's sums over the cache, [r, n] -> [r, C]."""
    return _class_sums((beta * (affinity - 1)).exp(), support.labels, support.classes)


def _similarities(queries: Tensor, support: LabelledFeatures) -> Iterator[tuple[slice, Tensor]]:
    """(rows, similarities [r, n] float32), with bounded [r, n] and [r, C]."""
    block = max(1, _CELLS // support.classes)
    for first in range(0, len(queries), block):
        for start, scores in similarity_chunks(queries[first : first + block], support.features):
            yield slice(first + start, first + start + len(scores)), scores


def _class_sums(columns: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Sum of the columns of each class, [r, n] -> [r, C].

    By matrix products, as adding by index sums in another order on each run of a GPU.
    """
    total = columns.new_zeros(len(columns), classes)
    step = max(1, _CELLS // classes)
    for start in range(0, len(labels), step):
        part = slice(start, start + step)
        member = labels[part, None] == torch.arange(classes, device=labels.device)  # [m, C]
        total.addmm_(columns[:, part], member.to(columns.dtype))
    return total


def _hits(logits: Tensor, labels: Tensor) -> int:
    """How many rows have the strictly highest logit, rounded to float32, at their label."""
    logits = logits.float()
    true = logits.gather(1, labels[:, None])
    return int(((logits >= true).sum(1) == 1).sum())


def _search(grid: Sequence[tuple[float, float | None]], hits: Sequence[int], n: int) -> Search:
    if not grid:
        raise ValueError("the grid of alpha and beta is empty")
    trials = tuple(
        Trial(alpha=alpha, beta=beta, accuracy=right / n)
        for (alpha, beta), right in zip(grid, hits, strict=True)
    )
    return Search(best=max(trials, key=lambda trial: trial.accuracy), trials=trials)


def _check(one: Tensor, other: Tensor, classes: int, expected: int) -> None:
    if one.ndim != 2 or other.ndim != 2 or 0 in one.shape or one.shape[1] != other.shape[1]:
        raise ValueError(
            f"features need one width, got {tuple(one.shape)} and {tuple(other.shape)}"
        )
    if classes != expected:
        raise ValueError(f"classes: {classes} on one side and {expected} on the other")
    if not (torch.isfinite(one).all() and torch.isfinite(other).all()):
        raise ValueError("NaN or infinity among the features")
