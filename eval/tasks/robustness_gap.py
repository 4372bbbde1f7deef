"""Zero-shot accuracy on a set and on further sets with the same classes, and what is lost.

`gap_NAME` is the accuracy on the set minus that on the further set NAME. Where that one has only
some of the classes (ImageNet-A and -R have 200), both are taken over these: over their pictures and
with these as the only candidates. The samples of two sets are independent, and so are the resamples
behind the interval of a gap.
"""

import time
from collections import Counter

import numpy as np
import torch
from torch import Tensor

from eval.captions import digest
from eval.datasets import EvalDataset
from eval.datasets.others import open_others
from eval.interface import EncodedSet, Task, TaskInput, TaskResult
from eval.prompts import find_prompts
from eval.spec import EvalSpec
from eval.tasks import zeroshot_classification as zeroshot
from eval.zero_shot import build_zero_shot
from vlp.metrics.bootstrap import Interval, percentiles
from vlp.metrics.classification import Classification, classify_features
from vlp.metrics.outcomes import Outcome, distribution, mean_of

NAME = "robustness_gap"


def check(dataset: EvalDataset, spec: EvalSpec) -> None:
    """Raises ValueError when the task cannot run on this data."""
    zeroshot.check(dataset, spec)
    if not spec.shifted:
        raise ValueError(f"task {NAME} needs further sets with the same classes: --shifted DATA")
    for other in more(dataset, spec).values():
        _shared(_names(dataset, spec), other)


def more(dataset: EvalDataset, spec: EvalSpec) -> dict[str, EvalDataset]:
    """The further sets, by their names."""
    return open_others("shifted", spec.shifted, dataset, spec.limit)


def run(given: TaskInput) -> TaskResult:
    """Classify the pictures of all sets with the prompts of the first."""
    zero_shot = build_zero_shot(given)
    weights = zero_shot.weights  # [C, D]
    started = time.perf_counter()
    assert given.dataset.labels is not None
    whole = _accuracy(given.image, weights, given.dataset.labels)
    metrics, intervals = {"acc1": float(whole.correct().mean())}, {}
    outcomes: dict[str, Outcome] = {"acc1": mean_of(whole.correct())}
    chances, ties = {"acc1": 1 / len(weights)}, int(whole.tied.sum())
    for name, other in given.more.items():
        classes = _shared(_names(given.dataset, given.spec), other.dataset)
        own = EncodedSet(dataset=given.dataset, image=given.image)
        before = _among(own, np.arange(len(weights)), classes, weights)
        after = _among(other, classes, classes, weights)
        outcomes[f"reference_acc1_{name}"] = mean_of(before.correct())
        outcomes[f"shifted_acc1_{name}"] = mean_of(after.correct())
        metrics[f"reference_acc1_{name}"] = float(before.correct().mean())
        metrics[f"shifted_acc1_{name}"] = float(after.correct().mean())
        metrics[f"gap_{name}"] = float(before.correct().mean() - after.correct().mean())
        intervals[f"gap_{name}"] = _interval_of_gap(before, after, given.spec.seed)
        guess = 1 / len(classes)
        chances |= {f"reference_acc1_{name}": guess, f"shifted_acc1_{name}": guess}
        ties += int(after.tied.sum())
    return TaskResult(
        metrics=metrics,
        outcomes=outcomes,
        ci95=intervals,
        counts={
            "images": len(given.dataset) + sum(len(other.dataset) for other in given.more.values()),
            **zero_shot.counts,
            "ties": ties,
        },
        protocol={
            **zero_shot.protocol,
            "shifted_sha": digest([other.dataset.fingerprint for other in given.more.values()]),
        },
        predictions=zeroshot.predictions_of(given.dataset, whole, zero_shot.classnames),
        chance=chances,
        seconds={"text": zero_shot.seconds, "metric": time.perf_counter() - started},
    )


def _names(dataset: EvalDataset, spec: EvalSpec) -> list[str]:
    """What the classes are known by in both sets: prompts may be in another language."""
    return dataset.classnames or find_prompts(dataset, spec).classnames


def _shared(names: list[str], other: EvalDataset) -> np.ndarray:
    """The class of the reference for each class of a further set, [C'].

    ImageNet has two classes of the name "missile": of equal names the first is the first.

    Raises:
        ValueError: no labels or class names, or a class that the reference lacks.
    """
    if other.labels is None or other.classnames is None:
        raise ValueError(f"shifted {other.path}: needs labels and class names, holds {other.holds}")
    place = {name: label for label, name in enumerate(_told_apart(names))}
    own = _told_apart(other.classnames)
    foreign = [name for name, key in zip(other.classnames, own, strict=True) if key not in place]
    if foreign:
        raise ValueError(
            f"shifted {other.path}: {len(foreign)} of its {len(other.classnames)} classes are no "
            f"class of the set that it is compared with, the first: {foreign[0]!r}"
        )
    return np.array([place[name] for name in own])


def _told_apart(names: list[str]) -> list[tuple[str, int]]:
    """Names without case, each with how often it came before."""
    seen: Counter[str] = Counter()
    found = []
    for name in map(str.casefold, names):
        found.append((name, seen[name]))
        seen[name] += 1
    return found


def _among(
    given: EncodedSet, own: np.ndarray, classes: np.ndarray, weights: Tensor
) -> Classification:
    """The pictures of `classes` classified among these alone.

    Args:
        given: a set.
        own: [C'], the class of the reference for each label of the set.
        classes: those that count.
        weights: [C, D] of the reference.
    """
    assert given.dataset.labels is not None
    labels = own[given.dataset.labels]
    rows = np.flatnonzero(np.isin(labels, classes))
    if not len(rows):
        raise ValueError(f"data {given.dataset.path} has no picture of the shared classes")
    kept = np.unique(classes)
    device = given.image.device
    return _accuracy(
        given.image[torch.from_numpy(rows).to(device)],
        weights[torch.from_numpy(kept).to(device)],
        np.searchsorted(kept, labels[rows]),
    )


def _accuracy(image: Tensor, weights: Tensor, labels: np.ndarray) -> Classification:
    return classify_features(image, weights, torch.from_numpy(labels))


def _interval_of_gap(before: Classification, after: Classification, seed: int) -> Interval | None:
    # seeds of their own: the same resamples would tie together samples that are independent
    first = distribution(mean_of(before.correct()), seed=seed)
    second = distribution(mean_of(after.correct()), seed=seed + 1)
    return None if first is None or second is None else percentiles(first - second)


TASK = Task(
    name=NAME,
    main="acc1",
    needs="labels and class names, and --shifted sets with the same",
    metrics="accuracy on all sets, and what is lost from the first to each other",
    source="Taori et al. 2020, arXiv 2007.00644",
    check=check,
    run=run,
    options=frozenset({"classnames", "templates", "prompts", "language", "shifted"}),
    more=more,
)
