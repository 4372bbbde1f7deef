"""Zero-shot classification of pictures that show several classes: mean average precision."""

import time

import numpy as np

from eval.datasets import EvalDataset
from eval.interface import Task, TaskInput, TaskResult
from eval.prompts import find_prompts
from eval.spec import EvalSpec
from eval.zero_shot import build_zero_shot
from vlp.metrics import chance
from vlp.metrics.multilabel import average_precision
from vlp.metrics.outcomes import MeanAveragePrecision
from vlp.metrics.similarity import similarity

NAME = "zeroshot_multilabel"
TIE_RULE = "of pictures that score alike for a class, those that lack it come first"


def check(dataset: EvalDataset, spec: EvalSpec) -> None:
    """Raises ValueError or FileNotFoundError when the task cannot run on this data."""
    if dataset.label_sets is None:
        raise ValueError(
            f"task {NAME} needs several labels a picture, but data {dataset.path} "
            f"({dataset.layout}) holds {dataset.holds}"
        )
    find_prompts(dataset, spec)


def run(given: TaskInput) -> TaskResult:
    """Order all pictures by their score for each class."""
    classes = build_zero_shot(given)
    started = time.perf_counter()
    labels = given.dataset.label_sets
    assert labels is not None
    scores = similarity(given.image, classes.weights).cpu().numpy()  # [n, C]
    found = average_precision(scores, labels)
    return TaskResult(
        metrics={"mean_average_precision": found.mean},
        outcomes={"mean_average_precision": MeanAveragePrecision(scores, labels)},
        counts={
            "images": len(labels),
            **classes.counts,
            "ties": int(found.tied.sum()),
            "classes_without_pictures": found.without_positives,
        },
        protocol={**classes.protocol, "tie_rule": TIE_RULE},
        predictions={
            "key": np.array(given.dataset.keys),
            "label_sets": labels,
            "label_scores": scores,
            "average_precision": found.values,
            "classnames": np.array(classes.classnames),
        },
        chance=chance.multilabel(labels),
        seconds={"text": classes.seconds, "metric": time.perf_counter() - started},
    )


TASK = Task(
    name=NAME,
    main="mean_average_precision",
    needs="several labels a picture, and class names",
    metrics="mean average precision over the classes",
    source="CLIP_benchmark (not VOC's 11-point measure)",
    check=check,
    run=run,
    options=frozenset({"classnames", "templates", "prompts", "language"}),
)
