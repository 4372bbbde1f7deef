"""Retrieval both ways between the pictures of a set and all their captions.

With `positives`, a file that says what else is true of a query, also mAP@R, R-Precision and R@K
over its queries, as ECCV Caption and CxC have them; everything else counts own captions alone.
"""

import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.captions import find_captions
from eval.datasets import EvalDataset
from eval.interface import Array, Task, TaskInput, TaskResult
from eval.positives import GroundTruth, find_positives
from eval.spec import EvalSpec
from vlp.metrics import chance
from vlp.metrics import retrieval as metric
from vlp.metrics.outcomes import Median, Outcome, clustered, combined
from vlp.metrics.r_precision import positive_ranks

Floats = NDArray[np.float64]
NAME = "retrieval"
TIE_RULE = "a wrong candidate that scores exactly as high as the answer ranks before it"
_SHOWN = 200  # characters of a caption that predictions keep: an array is as wide as its longest


def check(dataset: EvalDataset, spec: EvalSpec) -> None:
    """Raises ValueError or FileNotFoundError when the task cannot run on this data."""
    find_captions(NAME, dataset, spec)
    find_positives(dataset, spec, whole=spec.limit is None)


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

    t2i, i2t = metric.rank_both(given.image, text, torch.from_numpy(owner))
    result = TaskResult(
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
        chance=chance.retrieval(np.bincount(owner)),
    )
    result = _with_positives(result, given, text, owner)
    seconds = {"text": encoded - started, "metric": time.perf_counter() - encoded}
    return replace(result, seconds=seconds)


def _with_positives(result: TaskResult, given: TaskInput, text: Tensor, owner: Array) -> TaskResult:
    truth = find_positives(given.dataset, given.spec, whole=False)
    if truth is None:
        return result
    outcomes, guessed = _of_positives(truth, given.image, text, owner)
    return replace(
        result,
        metrics={**result.metrics, **{name: own.value for name, own in outcomes.items()}},
        outcomes={**result.outcomes, **outcomes},
        counts={**result.counts, **truth.counts},
        protocol={**result.protocol, "positives_sha": truth.sha},
        chance={**result.chance, **guessed},
    )


def _of_positives(
    truth: GroundTruth, image: Tensor, text: Tensor, owner: Array
) -> tuple[dict[str, Outcome], dict[str, float]]:
    """Outcomes over the queries of a ground truth, and what guessing scores; all is ranked."""
    sides = {
        "i2t": ("text_retrieval", image, text, np.arange(len(image))),
        "t2i": ("image_retrieval", text, image, owner),
    }
    found: dict[str, Outcome] = {}
    guessed: dict[str, float] = {}
    for way, own in truth.ways.items():
        prefix, queries, gallery, units = sides[way]
        ranks = positive_ranks(queries[own.queries], gallery, own.answers)
        values: dict[str, Array] = {
            f"{prefix}_map@r": ranks.average_precision(),
            f"{prefix}_r_precision": ranks.r_precision(),
            **{f"{prefix}_positives_recall@{k}": ranks.hit(k) for k in metric.RECALLS},
        }
        picture = units[own.queries]  # [Q]
        found |= {name: clustered(value, picture, len(image)) for name, value in values.items()}
        guessed |= chance.r_precision(prefix, ranks.counts, len(gallery))
        for k in metric.RECALLS:
            guessed[f"{prefix}_positives_recall@{k}"] = chance.any_of(ranks.counts, len(gallery), k)
    return found, guessed


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


def _per_query(prefix: str, ranks: metric.Ranks) -> dict[str, Array]:
    """The quantities whose means over queries are metrics, [Q] each."""
    values: dict[str, Array] = {f"{prefix}_recall@{k}": ranks.hit(k) for k in metric.RECALLS}
    values[f"{prefix}_mean_rank"] = ranks.rank.astype(np.float64)
    values[f"{prefix}_mrr"] = 1.0 / ranks.rank
    return values


def predictions_of(
    dataset: EvalDataset,
    captions: tuple[list[str], Array],
    t2i: metric.Ranks,
    i2t: metric.Ranks,
) -> dict[str, Array]:
    """What the report shows; of n pictures and m captions."""
    texts, owner = captions
    shown = [one if len(one) <= _SHOWN else f"{one[: _SHOWN - 1]}…" for one in texts]
    return {
        "key": np.array(dataset.keys),
        "caption": np.array(shown),
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
    metrics="R@1/5/10 both ways, median and mean rank, MRR, rsum; of positives mAP@R, R-Precision",
    source="names of CLIP_benchmark and DataComp; Chun et al. 2022 (ECCV Caption)",
    check=check,
    run=run,
    options=frozenset({"captions", "positives"}),
)
