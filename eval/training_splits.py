"""The split of a labelled data set that a probe or an adaptation is fitted on, and what it chooses
its settings on."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eval.datasets import EvalDataset, open_dataset
from eval.interface import EncodedSet, TaskInput
from eval.spec import EvalSpec
from vlp.metrics.probe import LabelledFeatures, few_shot

TRAIN, VALIDATION = "train", "validation"
OPTIONS = frozenset({"train_split", "val_split", "shots"})
_HELD_OUT = 5  # without a validation split one training sample of so many of a class chooses
_MOST_SHOTS = 4  # validation samples a class in few-shot, as in CoOp's splits


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What is fitted on, chosen on and scored; the three share no sample."""

    train: LabelledFeatures
    validation: LabelledFeatures
    test: LabelledFeatures
    protocol: dict[str, Any]

    @property
    def train_and_validation(self) -> LabelledFeatures:
        return LabelledFeatures(
            features=torch.cat([self.train.features, self.validation.features]),
            labels=torch.cat([self.train.labels, self.validation.labels]),
            classes=self.train.classes,
        )


def further_splits(dataset: EvalDataset, spec: EvalSpec) -> dict[str, EvalDataset]:
    """The training split, and the validation split if one is named.

    Raises:
        FileNotFoundError, ValueError: there is none, it is the one that is scored, or it has
            other classes.
    """
    names = {TRAIN: spec.train_split, VALIDATION: spec.val_split}
    found = {}
    for name, split in names.items():
        if split is None:
            continue
        if split == dataset.split:
            raise ValueError(f"{name} split {split!r} of data {dataset.path} is the one scored")
        other = open_dataset(dataset.path, split)
        if other.labels is None or other.classnames != dataset.classnames:
            raise ValueError(
                f"data {dataset.path}: the split {split!r} has not the labels and class names of "
                f"the split {dataset.split!r}"
            )
        found[name] = other
    if spec.val_split is not None and spec.val_split == spec.train_split:
        raise ValueError(f"val_split {spec.val_split!r} is the training split")
    return found


def labelled_samples(given: TaskInput, *, shots: int | None) -> Samples:
    """Draw what is fitted on and chosen on.

    Args:
        given: with the further splits.
        shots: training samples of each class; None for all.

    Raises:
        ValueError: a class with too few training samples.
    """
    assert given.dataset.labels is not None
    classes = max(len(given.dataset.classnames or ()), int(given.dataset.labels.max()) + 1)
    train = _labelled(given.more[TRAIN], classes)
    spec = replace(given.spec, shots=shots)
    labels = train.labels.cpu().numpy()
    if VALIDATION in given.more:
        validation = _labelled(given.more[VALIDATION], classes)
        if spec.shots is not None:
            shots = min(spec.shots, _MOST_SHOTS)
            own = validation.labels.cpu().numpy()
            validation = validation.select(few_shot(own, shots, classes=classes, seed=spec.seed))
            train = train.select(few_shot(labels, spec.shots, classes=classes, seed=spec.seed))
        chosen_on = f"the split {spec.val_split}"
    else:
        fit, held = _hold_out(labels, classes, spec)
        validation, train = train.select(held), train.select(fit)
        chosen_on = "training samples held out"
    return Samples(
        train=train,
        validation=validation,
        test=_labelled(EncodedSet(dataset=given.dataset, image=given.image), classes),
        protocol=_protocol(spec, train, validation, chosen_on),
    )


def _hold_out(
    labels: NDArray[np.int64], classes: int, spec: EvalSpec
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions to fit on, and positions to choose on."""
    if spec.shots is not None:
        held = min(spec.shots, _MOST_SHOTS)
        smallest = np.bincount(labels, minlength=classes)
        if smallest.min() < spec.shots + held:
            raise ValueError(
                f"class {smallest.argmin()} has {smallest.min()} training samples, but "
                f"{spec.shots} shots and {held} more to choose settings on are needed; give fewer "
                "--shots, or name a --val_split"
            )
        drawn = few_shot(labels, spec.shots + held, classes=classes, seed=spec.seed)
        rows = drawn.reshape(classes, -1)
        return rows[:, : spec.shots].ravel(), rows[:, spec.shots :].ravel()
    fit, chosen = [], []
    for label in range(classes):
        own = np.flatnonzero(labels == label)
        order = np.random.default_rng((spec.seed, label)).permutation(own)
        held = len(own) // _HELD_OUT
        chosen.append(order[:held])
        fit.append(order[held:])
    if not sum(map(len, chosen)):
        raise ValueError(
            f"no class of {classes} has {_HELD_OUT} training samples to hold one out for choosing "
            "settings; name a --val_split or give --shots"
        )
    return np.sort(np.concatenate(fit)), np.sort(np.concatenate(chosen))


def _labelled(given: EncodedSet, classes: int) -> LabelledFeatures:
    assert given.dataset.labels is not None
    return LabelledFeatures(
        features=given.image, labels=torch.from_numpy(given.dataset.labels), classes=classes
    )


def _protocol(
    spec: EvalSpec, train: LabelledFeatures, validation: LabelledFeatures, chosen_on: str
) -> dict[str, Any]:
    return {
        "train_split": spec.train_split,
        "val_split": spec.val_split,
        "shots": spec.shots,
        "draw_seed": spec.seed,
        "chosen_on": chosen_on,
        "train_samples": len(train.labels),
        "validation_samples": len(validation.labels),
        "features": "projected, unit norm",
    }
