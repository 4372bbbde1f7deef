"""Geometry of the pairs: how far pictures and their texts lie apart, how they fill the sphere."""

import time

import numpy as np

from eval.captions import find_captions
from eval.datasets import EvalDataset
from eval.interface import Task, TaskInput, TaskResult
from eval.spec import EvalSpec
from vlp.metrics.gap import gap_metrics

NAME = "gap"


def check(dataset: EvalDataset, spec: EvalSpec) -> None:
    """Raises ValueError when the task cannot run on this data."""
    find_captions(NAME, dataset, spec)
    if len(dataset) < 2:
        raise ValueError(f"task {NAME} needs two or more pairs, data {dataset.path} has one")


def run(given: TaskInput) -> TaskResult:
    """Measure the first caption of every picture against it."""
    found = find_captions(NAME, given.dataset, given.spec)
    texts = [own[0] for own in found.texts]
    started = time.perf_counter()
    text = given.encode_text(texts)  # [n, D]
    truncated = given.truncated(texts)
    encoded = time.perf_counter()
    return TaskResult(
        metrics=gap_metrics(given.image, text, seed=given.spec.seed),
        ci95={},
        counts={
            "images": len(texts),
            "texts": len(texts),
            "classes": None,
            "truncated_texts": truncated,
        },
        protocol={
            "captions": "first",
            "held_out": "one pair of five",
            "held_out_seed": given.spec.seed,
            **found.protocol,
        },
        predictions={"key": np.array(given.dataset.keys), "caption": np.array(texts)},
        chance={"linear_separability": 0.5},
        seconds={"text": encoded - started, "metric": time.perf_counter() - encoded},
    )


TASK = Task(
    name=NAME,
    main="centroid_distance",
    needs="captions",
    metrics="modality gap, uniformity, alignment, effective rank",
    source="Fahim et al. 2024, arXiv 2405.18570",
    check=check,
    run=run,
    options=frozenset({"captions"}),
)
