"""Zero-shot classification: the class whose prompts are nearest to the picture.

w_c = norm(mean over templates of the unit feature of the filled-in template), score = x . w_c.
"""

import time
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eval.datasets import EvalDataset
from eval.interface import Array, Task, TaskInput, TaskResult
from eval.prompts import find_prompts
from eval.spec import EvalSpec
from vlp.metrics import chance
from vlp.metrics.classification import Classification, classify
from vlp.metrics.outcomes import ClassMean, Outcome, mean_of
from vlp.metrics.similarity import similarity

NAME = "zeroshot_classification"
TIE_RULE = "the true class must score strictly higher than every other one"


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
    prompts = find_prompts(given.dataset, given.spec)
    started = time.perf_counter()
    classes = len(prompts.classnames)
    texts = list(chain.from_iterable(prompts.texts(label) for label in range(classes)))
    weights = classifier(given.encode_text(texts), classes)  # [C, D]
    truncated = given.truncated(sorted(set(texts)))
    encoded = time.perf_counter()

    assert given.dataset.labels is not None
    scores = similarity(given.image, weights)  # [n, C]
    outcome = classify(scores, torch.from_numpy(given.dataset.labels))
    return TaskResult(
        metrics=outcome.metrics,
        outcomes=outcomes_of(outcome),
        counts={
            "images": len(given.dataset),
            "texts": len(set(texts)),
            "classes": classes,
            "ties": int(outcome.tied.sum()),
            "truncated_texts": truncated,
        },
        protocol={**prompts.protocol, "tie_rule": TIE_RULE},
        predictions=_predictions(given.dataset, outcome, prompts.classnames),
        chance=chance.classification(classes),
        seconds={"text": encoded - started, "metric": time.perf_counter() - encoded},
    )


def classifier(text: Tensor, classes: int) -> Tensor:
    """[C * T, D] unit features, the templates of a class together -> [C, D] unit rows."""
    return F.normalize(text.view(classes, -1, text.shape[1]).mean(1), dim=-1)


def outcomes_of(outcome: Classification) -> dict[str, Outcome]:
    """The units are pictures."""
    hits: dict[str, Outcome] = {n: mean_of(outcome.correct(k)) for n, k in outcome.top_k.items()}
    return {**hits, "mean_per_class_recall": ClassMean(outcome.labels, outcome.correct())}


def _predictions(
    dataset: EvalDataset, outcome: Classification, classnames: list[str]
) -> dict[str, Array]:
    return {
        "key": np.array(dataset.keys),
        "label": outcome.labels,
        "predicted": outcome.predicted,
        "rank": outcome.rank,
        "top": outcome.top,
        "score": outcome.top_score,
        "classnames": np.array(classnames),
        "confusion": outcome.confusion,
    }


TASK = Task(
    name=NAME,
    main="acc1",
    needs="labels and class names",
    metrics="accuracy, top-5 accuracy, mean per-class recall",
    source="Radford et al. 2021, arXiv 2103.00020; names of CLIP_benchmark",
    check=check,
    run=run,
    options=frozenset({"classnames", "templates"}),
)
