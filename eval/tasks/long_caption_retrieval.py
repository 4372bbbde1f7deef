"""Retrieval with one long caption a picture, told apart by whether the caption was cut.

Plain R@K both ways, as Long-CLIP reports them (arXiv 2403.15378). A model with a short context sees
the beginning of a caption only: how many are cut, and how well the cut ones are found, are part of
the result.
"""

import time

import numpy as np
import torch

from eval.captions import find_captions
from eval.datasets import EvalDataset
from eval.interface import Array, Task, TaskInput, TaskResult
from eval.spec import EvalSpec
from eval.tasks import retrieval
from vlp.metrics import chance
from vlp.metrics import retrieval as metric
from vlp.metrics.outcomes import Outcome, Ratio

NAME = "long_caption_retrieval"


def check(dataset: EvalDataset, spec: EvalSpec) -> None:
    """Raises ValueError when the task cannot run on this data."""
    find_captions(NAME, dataset, spec)


def run(given: TaskInput) -> TaskResult:
    """Rank all pictures for every first caption, and all first captions for every picture."""
    found = find_captions(NAME, given.dataset, given.spec)
    texts = [own[0] for own in found.texts]  # [n]
    started = time.perf_counter()
    text = given.encode_text(texts)  # [n, D]
    cut = np.array([given.truncated([one]) > 0 for one in texts])  # [n]
    encoded = time.perf_counter()
    owner = np.arange(len(texts))
    t2i, i2t = metric.rank_both(given.image, text, torch.from_numpy(owner))
    parts = {**_part("cut", cut, t2i, i2t), **_part("whole", ~cut, t2i, i2t)}
    n = len(texts)
    guessed = chance.retrieval(np.ones(n, dtype=np.int64))
    return TaskResult(
        metrics={
            **metric.summary(t2i, i2t),
            **{name: outcome.value for name, outcome in parts.items()},
            "cut_share": float(cut.mean()),
            "words": float(np.mean([len(one.split()) for one in texts])),
        },
        outcomes={**retrieval.outcomes_of(t2i, i2t, owner), **parts},
        counts={
            "images": n,
            "texts": n,
            "classes": None,
            "ties": int(t2i.tied.sum() + i2t.tied.sum()),
            "truncated_texts": int(cut.sum()),
        },
        protocol={"tie_rule": retrieval.TIE_RULE, "captions": "first", **found.protocol},
        predictions=retrieval.predictions_of(given.dataset, (texts, owner), t2i, i2t),
        chance={**guessed, **dict.fromkeys(parts, guessed["mean_recall@1"])},
        seconds={"text": encoded - started, "metric": time.perf_counter() - encoded},
    )


def _part(name: str, rows: Array, t2i: metric.Ranks, i2t: metric.Ranks) -> dict[str, Outcome]:
    """Mean R@1 of both ways over a part of the pairs, all others being in the gallery as well."""
    if not rows.any():
        return {}
    hits = (t2i.hit(1).astype(np.float64) + i2t.hit(1)) / 2
    return {f"mean_recall@1_{name}": Ratio(hits * rows, rows.astype(np.float64))}


TASK = Task(
    name=NAME,
    main="mean_recall@1",
    needs="captions (one long one a picture)",
    metrics="R@1/5/10 both ways, share of captions cut, mean R@1 of cut and of whole ones",
    source="Zhang et al. 2024 (Long-CLIP), arXiv 2403.15378",
    check=check,
    run=run,
    options=frozenset({"captions"}),
)
