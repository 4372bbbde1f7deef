"""Zero-shot classification: the class whose prompts are nearest to the picture.

With groups beside the labels (region, income, hospital) also the accuracy of the worst group, as
WILDS and DataComp report it, and iWildCam's macro F1.
"""

import time

import numpy as np
import torch

from eval.datasets import EvalDataset
from eval.interface import Array, Task, TaskInput, TaskResult
from eval.prompts import find_prompts
from eval.spec import EvalSpec
from eval.zero_shot import build_zero_shot
from vlp.metrics import chance
from vlp.metrics.classification import Classification, classify_features
from vlp.metrics.outcomes import ClassMean, Computed, Outcome, mean_of

_CONFUSED = 1000  # classes, of which all pairs are kept: 8 MB
NAME = "zeroshot_classification"
OPTIONS = frozenset({"classnames", "templates", "prompts", "language"})


def check(dataset: EvalDataset, spec: EvalSpec) -> None:
    """Raises ValueError or FileNotFoundError when the task cannot run on this data."""
    if dataset.labels is None:
        raise ValueError(
            f"task {NAME} needs labels, but data {dataset.path} ({dataset.layout}) holds "
            f"{dataset.holds}"
        )
    find_prompts(dataset, spec)


def run(given: TaskInput) -> TaskResult:
    """Classify every picture."""
    classes = build_zero_shot(given)
    started = time.perf_counter()
    assert given.dataset.labels is not None
    labels = torch.from_numpy(given.dataset.labels)
    outcome = classify_features(given.image, classes.weights, labels)
    outcomes = {**outcomes_of(outcome), **_of_groups(outcome, given.dataset)}
    return TaskResult(
        metrics={**outcome.metrics, **{name: own.value for name, own in outcomes.items()}},
        outcomes=outcomes,
        counts={
            "images": len(given.dataset),
            **classes.counts,
            "ties": int(outcome.tied.sum()),
        },
        protocol=classes.protocol,
        predictions=predictions_of(given.dataset, outcome, classes.classnames),
        chance=chance.classification(len(classes.classnames)),
        seconds={"text": classes.seconds, "metric": time.perf_counter() - started},
    )


def outcomes_of(outcome: Classification) -> dict[str, Outcome]:
    """The units are pictures."""
    hits: dict[str, Outcome] = {n: mean_of(outcome.correct(k)) for n, k in outcome.top_k.items()}
    return {**hits, "mean_per_class_recall": ClassMean(outcome.labels, outcome.correct())}


def _of_groups(outcome: Classification, dataset: EvalDataset) -> dict[str, Outcome]:
    """`acc_worst_GROUP`, `acc_top5_worst_GROUP`, and the macro F1 where there are groups at all."""
    found: dict[str, Outcome] = {}
    for name, groups in dataset.groups.items():
        for metric, k in outcome.top_k.items():
            prefix = "acc" if metric == "acc1" else "acc_top5"
            columns = (outcome.correct(k), groups)
            found[f"{prefix}_worst_{name}"] = Computed("worst_group", columns)
    if found:
        found["F1-macro_all"] = Computed("f1_macro", (outcome.labels, outcome.predicted))
    return found


def predictions_of(
    dataset: EvalDataset, outcome: Classification, classnames: list[str]
) -> dict[str, Array]:
    """What the report shows, a row a picture."""
    return {
        "key": np.array(dataset.keys),
        "label": outcome.labels,
        "predicted": outcome.predicted,
        "rank": outcome.rank,
        "top": outcome.top,
        "score": outcome.top_score,
        "classnames": np.array(classnames),
        **({"confusion": outcome.confusion} if len(classnames) <= _CONFUSED else {}),
    }


TASK = Task(
    name=NAME,
    main="acc1",
    needs="labels and class names",
    metrics="accuracy, top-5 accuracy, mean per-class recall; of groups the worst, and macro F1",
    source="Radford et al. 2021, arXiv 2103.00020; names of CLIP_benchmark, WILDS, DataComp",
    check=check,
    run=run,
    options=OPTIONS,
)
