"""Captioning: a caption is written of every picture and compared with those that it has."""

import time

import numpy as np

from eval.captions import find_captions, generation_protocol
from eval.datasets import EvalDataset
from eval.interface import Task, TaskInput, TaskResult
from eval.spec import EvalSpec
from vlp.metrics.captioning import score_captions
from vlp.metrics.outcomes import mean_of

NAME = "captioning"
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
        # BLEU is a property of the whole set and has no interval
        outcomes={"rouge_l": mean_of(scores.rouge_l), "cider": mean_of(scores.cider)},
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


TASK = Task(
    name=NAME,
    main="cider",
    needs="captions",
    metrics="CIDEr, BLEU-4, ROUGE-L",
    source="coco-caption; Vedantam et al. 2015",
    check=check,
    run=run,
    options=frozenset({"captions", "caption_method"}),
    writes_captions=True,
)
