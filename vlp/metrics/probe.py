"""Linear probe: multinomial logistic regression on frozen features, fitted by L-BFGS in float64.

The objective is that of scikit-learn's LogisticRegression,

    sum_i -log softmax(W x_i + b)_{y_i} + |W|^2 / (2 C),    b without penalty,

and for two classes its binary form, of which |W|^2 / C is the multinomial equivalent. C is chosen
on validation samples as CLIP does (Radford et al., ICML 2021, appendix A.3): 1e-6 to 1e6 in eighths
of a decade, the interval around the best one halved until that step.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from vlp.metrics.classification import classify

Floats = NDArray[np.float64]
_CELLS = 1 << 22  # logits held in float64 at a time: 32 MB
_PER_DECADE = 8
_LOWEST, _HIGHEST = -6 * _PER_DECADE, 6 * _PER_DECADE  # exponents of C, in eighths of a decade
_FIRST = 2 * _PER_DECADE  # step of the coarse grid
_ROUNDING = 1e-10  # below this a gradient is noise


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledFeatures:
    """Features with their classes, on one device.

    Raises:
        ValueError: no sample, lengths that differ, features that are no numbers, or a label
            outside the classes.
    """

    features: Tensor  # [n, D]
    labels: Tensor  # [n] integers in [0, classes)
    classes: int

    def __post_init__(self) -> None:
        shape, n = tuple(self.features.shape), len(self.labels)
        if len(shape) != 2 or 0 in shape or n != shape[0]:
            raise ValueError(f"features: needs [n, D] for n > 0 labels, got {shape} and {n} labels")
        if not torch.isfinite(self.features).all():
            raise ValueError("features: NaN or infinity among the features")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= self.classes:
            raise ValueError(
                f"labels: from {low} to {high}, but there are {self.classes} classes "
                f"(0 to {self.classes - 1})"
            )
        object.__setattr__(self, "labels", self.labels.to(self.features.device))

    def select(self, positions: NDArray[np.int64]) -> "LabelledFeatures":
        """The samples at [m] positions."""
        rows = torch.from_numpy(positions).to(self.features.device)
        return LabelledFeatures(
            features=self.features[rows], labels=self.labels[rows], classes=self.classes
        )

    def counts(self) -> NDArray[np.int64]:
        """Samples of each class, [classes]."""
        return np.bincount(self.labels.cpu().numpy(), minlength=self.classes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """A fitted linear classifier, on the device of its training features."""

    weight: Tensor  # [C, D] float64
    bias: Tensor  # [C] float64
    c: float  # inverse strength of the penalty
    loss: float  # the objective, divided by the number of samples
    iterations: int
    converged: bool  # False where the iterations ran out or the line search gave up

    def logits(self, features: Tensor) -> Tensor:
        """[n, D] -> [n, C] float64; its softmax is the probability of the classes."""
        return torch.addmm(self.bias, features.double(), self.weight.T)

    def accuracy(self, samples: LabelledFeatures) -> float:
        """Share of the samples whose own class has the strictly highest logit."""
        step = max(1, _CELLS // max(self.weight.shape))
        hits = 0
        for start in range(0, len(samples.labels), step):
            rows = slice(start, start + step)
            scores = self.logits(samples.features[rows])
            hits += int(classify(scores, samples.labels[rows], top=1).correct().sum())
        return hits / len(samples.labels)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One value of C and how the probe that it gives does on the validation samples."""

    c: float
    accuracy: float
    loss: float
    iterations: int
    converged: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """The chosen probe, and every C that was tried, ascending."""

    best: Probe
    trials: tuple[Trial, ...]


def few_shot(
    labels: NDArray[np.int64], shots: int, *, classes: int, seed: int
) -> NDArray[np.int64]:
    """Positions of `shots` samples of each class, [classes * shots], class by class.

    A function of the seed and of each class's own samples. Fewer shots are a part of more, so that
    a curve over shots adds samples and exchanges none.

    Args:
        labels: [n] integers in [0, classes).
        shots: samples of each class.
        classes: number of classes.
        seed: of the drawing.

    Raises:
        ValueError: a class with too few samples, or no shots.
    """
    if shots < 1:
        raise ValueError(f"shots: {shots} must be 1 or more")
    drawn = []
    for c in range(classes):
        own = np.flatnonzero(labels == c)
        if len(own) < shots:
            raise ValueError(f"class {c} has {len(own)} samples, fewer than {shots} shots")
        drawn.append(np.random.default_rng((seed, c)).permutation(own)[:shots])
    return np.concatenate(drawn)


def fit_probe(
    train: LabelledFeatures,
    c: float,
    *,
    start: Probe | None = None,
    max_iterations: int = 1000,
    tolerance: float = 1e-5,
) -> Probe:
    """Fit the classifier.

    Args:
        train: samples, at least one of each class.
        c: inverse strength of the penalty.
        start: a probe of the same shape to begin from; it changes the time, not the optimum.
        max_iterations: of L-BFGS.
        tolerance: largest component of the gradient at which the fit has converged, as a part of
            the largest that a classifier without weights has.

    Raises:
        ValueError: a c that is not positive, fewer than two classes, a class without a sample (its
            bias would fall for ever), or a start of another shape.
    """
    _check(train, c, start)
    objective = _Objective(train, c)
    # the classifier that knows the frequencies and nothing else
    logs = torch.from_numpy(np.log(train.counts())).to(objective.scale)
    null = objective.pack(
        torch.zeros_like(objective.center).expand(train.classes, -1), logs - logs.mean()
    )
    limit = max(_ROUNDING, tolerance * float(np.abs(objective(null)[1]).max()))
    found = minimize(
        objective,
        null if start is None else objective.pack(start.weight, start.bias),
        jac=True,
        method="L-BFGS-B",
        # the value's own limit is off, so that the gradient alone says when it is done
        options={"maxiter": max_iterations, "maxfun": 20 * max_iterations, "maxls": 50}
        | {"ftol": 0.0, "gtol": limit},
    )
    weight, bias = objective.unpack(found.x)
    return Probe(
        weight=weight,
        bias=bias,
        c=c,
        loss=float(found.fun),
        iterations=int(found.nit),
        converged=bool(np.abs(found.jac).max() <= limit),
    )


def sweep(
    train: LabelledFeatures, validation: LabelledFeatures, *, max_iterations: int = 1000
) -> Sweep:
    """Choose C by validation accuracy, the strongest penalty of several that are as accurate.

    Every fit starts from that of the next smaller C.

    Args:
        train: samples to fit on.
        validation: other samples, never those that are scored in the end.
        max_iterations: of each fit.

    Raises:
        ValueError: as `fit_probe`.
    """
    trials: dict[int, tuple[Trial, Probe]] = {}

    def attempt(exponent: int) -> None:
        if exponent in trials or not _LOWEST <= exponent <= _HIGHEST:
            return
        below = [known for known in trials if known < exponent]
        start = trials[max(below)][1] if below else None
        c = 10.0 ** (exponent / _PER_DECADE)
        probe = fit_probe(train, c, start=start, max_iterations=max_iterations)
        trial = Trial(
            c=c,
            accuracy=probe.accuracy(validation),
            loss=probe.loss,
            iterations=probe.iterations,
            converged=probe.converged,
        )
        trials[exponent] = trial, probe

    def best() -> int:
        return min(trials, key=lambda exponent: (-trials[exponent][0].accuracy, exponent))

    for exponent in range(_LOWEST, _HIGHEST + 1, _FIRST):
        attempt(exponent)
    step = _FIRST
    while step > 1:
        step //= 2
        middle = best()
        attempt(middle - step)
        attempt(middle + step)
    ordered = tuple(trials[exponent][0] for exponent in sorted(trials))
    return Sweep(best=trials[best()][1], trials=ordered)


class _Objective:
    """The objective divided by n, in variables in which its curvature is about one.

    Both changes are exact. Centred features leave the weights as they are and keep them from
    pulling at the bias, as the features of a dual encoder lie in a narrow cone; the scales are the
    roots of the mean curvature of weights and biases where all classes are equally likely.
    """

    def __init__(self, train: LabelledFeatures, c: float) -> None:
        features = train.features.double()
        self.center = features.mean(0)  # [D]
        self.features = features - self.center  # [n, D]
        self.labels = train.labels
        self.shape = train.classes, features.shape[1] + 1
        self.strength = (2 if train.classes == 2 else 1) / (c * len(features))
        curvature = float(self.features.square().mean()) / train.classes + self.strength
        self.scale = features.new_full((self.shape[1],), curvature**-0.5)
        self.scale[-1] = train.classes**0.5

    def __call__(self, parameters: Floats) -> tuple[float, Floats]:
        """Value and gradient [C (D + 1)]."""
        both = self._scaled(parameters)
        weight = both[:, :-1]
        loss, slope = _loss(self.features, self.labels, weight, both[:, -1])
        slope[:, :-1] += self.strength * weight
        value = loss + self.strength / 2 * weight.square().sum()
        return float(value), (self.scale * slope).cpu().numpy().ravel()

    def pack(self, weight: Tensor, bias: Tensor) -> Floats:
        """[C, D] and [C] -> [C (D + 1)]."""
        both = torch.column_stack([weight, bias + weight @ self.center]) / self.scale
        return both.cpu().numpy().ravel()

    def unpack(self, parameters: Floats) -> tuple[Tensor, Tensor]:
        """[C (D + 1)] -> [C, D] and [C]."""
        both = self._scaled(parameters)
        weight = both[:, :-1].contiguous()
        return weight, both[:, -1] - weight @ self.center

    def _scaled(self, parameters: Floats) -> Tensor:
        return self.scale * torch.from_numpy(parameters).to(self.scale.device).view(self.shape)


def _check(train: LabelledFeatures, c: float, start: Probe | None) -> None:
    if not c > 0 or not np.isfinite(c):
        raise ValueError(f"c: {c} must be a positive number")
    counts = train.counts()
    if len(counts) < 2 or not counts.all():
        raise ValueError(
            f"labels: a probe needs two or more classes and a sample of each; of {len(counts)} "
            f"classes, {int((counts == 0).sum())} have none, the first is class "
            f"{int(counts.argmin())}"
        )
    shape = train.classes, train.features.shape[1]
    if start is not None and tuple(start.weight.shape) != shape:
        raise ValueError(f"start: a probe of shape {tuple(start.weight.shape)}, not {shape}")


def _loss(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy and its gradient [C, D + 1], a bounded number of logits at a time."""
    n = len(labels)
    total = features.new_zeros(())
    slope = features.new_zeros(weight.shape[0], weight.shape[1] + 1)
    step = max(1, _CELLS // len(weight))
    for start in range(0, n, step):
        rows, truth = features[start : start + step], labels[start : start + step, None]
        logs = torch.addmm(bias, rows, weight.T).log_softmax(1)  # [r, C]
        total -= logs.gather(1, truth).sum()
        excess = logs.exp_()
        excess.scatter_add_(1, truth, excess.new_full(truth.shape, -1.0))  # p - [c = y]
        slope[:, :-1].addmm_(excess.T, rows)
        slope[:, -1] += excess.sum(0)
    return total / n, slope / n
