"""Geometry of the pairs: how far pictures and their texts lie apart, how they fill the sphere."""

import time

import numpy as np

from eval.captions import find_captions
from eval.datasets import EvalDataset
from eval.interface import Task, TaskInput, TaskResult
from eval.spec import EvalSpec
from vlp.metrics import chance
from vlp.metrics.geometry import RESAMPLES, geometry_intervals, geometry_metrics

NAME = "geometry"


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
    metrics = geometry_metrics(given.image, text, seed=given.spec.seed)
    if given.scale is not None:
        metrics["logit_scale"] = given.scale
    return TaskResult(
        metrics=metrics,
        ci95=geometry_intervals(given.image, text, seed=given.spec.seed),
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
            "resamples": RESAMPLES,
            **found.protocol,
        },
        predictions={"key": np.array(given.dataset.keys), "caption": np.array(texts)},
        chance=chance.geometry(len(texts)),
        seconds={"text": encoded - started, "metric": time.perf_counter() - encoded},
    )


TASK = Task(
    name=NAME,
    main="centroid_distance",
    needs="captions",
    metrics="modality gap, uniformity, alignment, ranks, intrinsic dimension, hubness, separation",
    source="Liang et al. 2022, arXiv 2203.02053; Wang & Isola 2020; Fahim et al. 2024",
    check=check,
    run=run,
    options=frozenset({"captions"}),
)
