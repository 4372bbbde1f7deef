"""Whether the probabilities of a zero-shot classifier mean what they say.

p = softmax(scale * cosine) with the model's own inverse temperature. The temperature that is fitted
is fitted on one half of the pictures and judged on the other.
"""

import time

import numpy as np
import torch

from eval.datasets import EvalDataset
from eval.interface import Task, TaskInput, TaskResult
from eval.spec import EvalSpec
from eval.tasks import zeroshot_classification as zeroshot
from eval.zero_shot import build_zero_shot
from vlp.metrics.calibration import BINS, SCALE, calibration, fit_temperature
from vlp.metrics.outcomes import Computed, Outcome, mean_of
from vlp.metrics.similarity import similarity

NAME = "calibration"


def check(dataset: EvalDataset, spec: EvalSpec) -> None:
    """Raises ValueError or FileNotFoundError when the task cannot run on this data."""
    zeroshot.check(dataset, spec)
    if len(dataset) < 2:
        raise ValueError(f"task {NAME} needs two or more pictures, data {dataset.path} has one")


def run(given: TaskInput) -> TaskResult:
    """Confidences as the model gives them, and after a fitted temperature."""
    classes = build_zero_shot(given)
    started = time.perf_counter()
    assert given.dataset.labels is not None
    scores = similarity(given.image, classes.weights)  # [n, C]
    labels = torch.from_numpy(given.dataset.labels)
    scale = SCALE if given.scale is None else given.scale
    before = calibration(scores, labels, scale=scale)

    order = np.random.default_rng(given.spec.seed).permutation(len(labels))
    fit, held = np.array_split(order, 2)
    rows = torch.from_numpy(np.sort(fit)), torch.from_numpy(np.sort(held))
    fitted = fit_temperature(scores[rows[0].to(scores.device)], labels[rows[0]], scale=scale)
    after = calibration(
        scores[rows[1].to(scores.device)], labels[rows[1]], scale=scale / fitted.temperature
    )
    outcomes: dict[str, Outcome] = {
        "ece": Computed("ece", (before.confidence, before.correct)),
        "nll": mean_of(before.nll),
        "brier": mean_of(before.brier),
        "acc1": mean_of(before.correct),
        "mean_confidence": mean_of(before.confidence),
        "fitted_ece": Computed("ece", (after.confidence, after.correct)),
        "fitted_nll": mean_of(after.nll),
    }
    table = before.reliability
    return TaskResult(
        metrics={
            **{name: outcome.value for name, outcome in outcomes.items()},
            "fitted_temperature": fitted.temperature,
        },
        outcomes=outcomes,
        counts={"images": len(labels), **classes.counts},
        protocol={
            **classes.protocol,
            "scale": "the model's" if given.scale is not None else SCALE,
            "bins": BINS,
            "fitted_on": "half of the pictures",
            "fitted_seed": given.spec.seed,
        },
        predictions={
            "key": np.array(given.dataset.keys),
            "label": given.dataset.labels,
            "confidence": before.confidence,
            "correct": before.correct,
            "bin_edges": table.edges,
            "bin_count": table.count,
            "bin_accuracy": table.accuracy,
            "bin_confidence": table.confidence,
        },
        chance={"acc1": 1 / len(classes.classnames)},
        seconds={"text": classes.seconds, "metric": time.perf_counter() - started},
    )


TASK = Task(
    name=NAME,
    main="ece",
    needs="labels and class names",
    metrics="ECE, NLL, Brier score, mean confidence; ECE and NLL after a fitted temperature",
    source="Guo et al. 2017, arXiv 1706.04599",
    check=check,
    run=run,
    options=frozenset({"classnames", "templates", "prompts", "language"}),
)
