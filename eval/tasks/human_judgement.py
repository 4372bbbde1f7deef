"""CLIPScore against people: do captions that people rate higher lie nearer to the picture?

CLIPScore(c, v) = 2.5 max(cos(c, v), 0) with the prompt "A photo depicts" (Hessel et al. 2021,
arXiv 2104.08718). Kendall's tau over all single ratings; tau-c for Flickr8k's experts, tau-b for
its crowd, as there.
"""

import time

import numpy as np
import torch

from eval.captions import digest
from eval.datasets import EvalDataset
from eval.interface import Task, TaskInput, TaskResult
from eval.spec import EvalSpec
from vlp.metrics.choice import pair_scores
from vlp.metrics.outcomes import Computed, clustered

NAME = "human_judgement"
PROMPT = "A photo depicts "
WEIGHT = 2.5
TIE_RULE = "a pair with equal scores is not in the order of the ratings"


def check(dataset: EvalDataset, spec: EvalSpec) -> None:
    """Raises ValueError when the task cannot run on this data."""
    if dataset.judgements is None:
        raise ValueError(
            f"task {NAME} needs ratings of pictures with captions, but data {dataset.path} "
            f"({dataset.layout}) holds {dataset.holds}"
        )


def run(given: TaskInput) -> TaskResult:
    """Score every rated pair."""
    judged = given.dataset.judgements
    assert judged is not None
    if len(judged.image) < 2:
        raise ValueError(f"task {NAME}: fewer than two rated pairs can be read")
    texts = [PROMPT + text for text in judged.texts]
    started = time.perf_counter()
    text = given.encode_text(texts)  # [t, D]
    truncated = given.truncated(texts)
    encoded = time.perf_counter()
    device = given.image.device
    image = given.image[torch.from_numpy(judged.image).to(device)]  # [j, D]
    cosine = pair_scores(image, text[torch.from_numpy(judged.text).to(device)]).cpu().numpy()
    score = WEIGHT * np.maximum(cosine.astype(np.float64), 0.0)  # [j]
    # the unit is the picture: its captions are judged against one another
    tau = Computed(f"kendall_{judged.variant}", (score, judged.ratings), units=judged.image)
    mean = clustered(score, judged.image, len(given.dataset))
    return TaskResult(
        metrics={"kendall_tau": tau.value, "clip_score": float(score.mean())},
        outcomes={"kendall_tau": tau, "clip_score": mean},
        counts={
            "images": len(given.dataset),
            "texts": len(texts),
            "classes": None,
            "pairs": len(score),
            "ties": len(score) - len(np.unique(score)),
            "truncated_texts": truncated,
        },
        protocol={
            "tie_rule": TIE_RULE,
            "kendall": judged.variant,
            "prompt": PROMPT,
            "bootstrap": "clustered by picture",
            "captions_sha": digest(judged.texts),
        },
        predictions={
            "key": np.array(given.dataset.keys),
            "judged_image": judged.image,
            "judged_text": np.array(judged.texts)[judged.text],
            "rating": judged.ratings,
            "clip_score": score,
        },
        chance={"kendall_tau": 0.0},
        seconds={"text": encoded - started, "metric": time.perf_counter() - encoded},
    )


TASK = Task(
    name=NAME,
    main="kendall_tau",
    needs="ratings of (picture, caption) by people",
    metrics="Kendall's tau of CLIPScore and ratings",
    source="Hessel et al. 2021 (CLIPScore), arXiv 2104.08718",
    check=check,
    run=run,
)
