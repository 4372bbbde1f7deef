"""Retrieval both ways between the pictures of a set and all their captions."""

import time

import numpy as np
import torch
from numpy.typing import NDArray

from eval.captions import find_captions
from eval.datasets import EvalDataset
from eval.interface import Array, Task, TaskInput, TaskResult
from eval.spec import EvalSpec
from vlp.metrics import chance
from vlp.metrics import retrieval as metric
from vlp.metrics.outcomes import Median, Outcome, clustered, combined

Floats = NDArray[np.float64]
NAME = "retrieval"
TIE_RULE = "a wrong candidate that scores exactly as high as the answer ranks before it"


def check(dataset: EvalDataset, spec: EvalSpec) -> None:
    """Raises ValueError when the task cannot run on this data."""
    find_captions(NAME, dataset, spec)


def run(given: TaskInput) -> TaskResult:
    """Rank all pictures for every caption, and all captions for every picture."""
    found = find_captions(NAME, given.dataset, given.spec)
    captions = found.texts
    texts = [caption for own in captions for caption in own]  # [m]
    owner = np.repeat(np.arange(len(captions)), [len(own) for own in captions])  # [m]
    started = time.perf_counter()
    text = given.encode_text(texts)  # [m, D]
    truncated = given.truncated(texts)
    encoded = time.perf_counter()

    places = torch.from_numpy(owner)
    t2i = metric.text_to_image(given.image, text, places)
    i2t = metric.image_to_text(given.image, text, places)
    return TaskResult(
        metrics=metric.summary(t2i, i2t),
        outcomes=outcomes_of(t2i, i2t, owner),
        counts={
            "images": len(captions),
            "texts": len(texts),
            "classes": None,
            "ties": int(t2i.tied.sum() + i2t.tied.sum()),
            "truncated_texts": truncated,
        },
        protocol={
            "tie_rule": TIE_RULE,
            "captions": "all",
            "bootstrap": "clustered by picture",
            **found.protocol,
        },
        predictions=predictions_of(given.dataset, (texts, owner), t2i, i2t),
        chance=chance.retrieval(len(captions), len(texts)),
        seconds={"text": encoded - started, "metric": time.perf_counter() - encoded},
    )


def outcomes_of(t2i: metric.Ranks, i2t: metric.Ranks, owner: Array) -> dict[str, Outcome]:
    """The units are pictures, each with all its captions."""
    images = len(i2t.rank)
    ways = {"image_retrieval": (t2i, owner), "text_retrieval": (i2t, np.arange(images))}
    ratios = {
        name: clustered(values, units, images)
        for prefix, (ranks, units) in ways.items()
        for name, values in _per_query(prefix, ranks).items()
    }
    recalls = [ratios[name] for name in metric.recall_names()]
    ones = [ratios[f"{prefix}_recall@1"] for prefix in ways]
    return {
        **ratios,
        "rsum": combined([1.0] * len(recalls), recalls),
        "mean_recall@1": combined([0.5, 0.5], ones),
        **{f"{prefix}_median_rank": Median(r.rank, units) for prefix, (r, units) in ways.items()},
    }


def _per_query(prefix: str, ranks: metric.Ranks) -> dict[str, Floats]:
    """The quantities whose means over queries are metrics, [Q] each."""
    values = {f"{prefix}_recall@{k}": ranks.hit(k).astype(np.float64) for k in metric.RECALLS}
    values[f"{prefix}_mean_rank"] = ranks.rank.astype(np.float64)
    values[f"{prefix}_mrr"] = 1.0 / ranks.rank
    return values


def predictions_of(
    dataset: EvalDataset,
    captions: tuple[list[str], Array],
    t2i: metric.Ranks,
    i2t: metric.Ranks,
) -> dict[str, Array]:
    texts, owner = captions
    return {
        "key": np.array(dataset.keys),
        "caption": np.array(texts),
        "owner": owner,
        "image_rank": t2i.rank,
        "image_top": t2i.top,
        "image_score": t2i.top_score,
        "text_rank": i2t.rank,
        "text_top": i2t.top,
        "text_score": i2t.top_score,
    }


TASK = Task(
    name=NAME,
    main="mean_recall@1",
    needs="captions",
    metrics="R@1/5/10 both ways, median and mean rank, MRR, rsum",
    source="names of CLIP_benchmark and DataComp",
    check=check,
    run=run,
    options=frozenset({"captions"}),
)
