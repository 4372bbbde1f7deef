"""Captioning: a caption is written of every picture and compared with those that it has."""

import time

import numpy as np

from eval.captions import find_captions, generation_protocol
from eval.datasets import EvalDataset
from eval.interface import TaskInput, TaskResult
from eval.spec import EvalSpec
from vlp.metrics.bootstrap import Interval, intervals_of_ratios
from vlp.metrics.captioning import CaptionScores, score_captions

NAME = "captioning"
OPTIONS = frozenset({"captions", "caption_method"})
_SHOWN = ("bleu4", "rouge_l", "cider")


def check(dataset: EvalDataset, spec: EvalSpec) -> None:
    """Raises ValueError when the task cannot run on this data."""
    find_captions(NAME, dataset, spec)


def run(given: TaskInput) -> TaskResult:
    """Write a caption of every picture and score it against all captions of the picture."""
    found = find_captions(NAME, given.dataset, given.spec)
    started = time.perf_counter()
    written = given.write_captions()  # [n]
    generated = time.perf_counter()
    scores = score_captions(written, found.texts)
    return TaskResult(
        metrics={name: scores.metrics[name] for name in _SHOWN},
        ci95=_intervals(scores, given.spec.seed),
        counts={
            "images": len(written),
            "texts": sum(map(len, found.texts)),
            "classes": None,
            "empty_captions": sum(not text.strip() for text in written),
        },
        protocol={
            "captions": "all",
            "tokenizer": "as PTBTokenizer",
            **generation_protocol(given.spec),
            **found.protocol,
        },
        predictions={
            "key": np.array(given.dataset.keys),
            "written": np.array(written),
            "caption": np.array([own[0] for own in found.texts]),
            "caption_cider": scores.cider,
            "caption_rouge_l": scores.rouge_l,
        },
        seconds={"text": generated - started, "metric": time.perf_counter() - generated},
    )


def _intervals(scores: CaptionScores, seed: int) -> dict[str, Interval | None]:
    """BLEU is a property of the whole set and has no interval."""
    values = {"rouge_l": scores.rouge_l, "cider": scores.cider}
    ones = {name: np.ones(len(one)) for name, one in values.items()}
    return intervals_of_ratios(values, ones, seed=seed)
