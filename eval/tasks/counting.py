"""Counting: which number makes the caption of a picture fit it best (CountBench's protocol).

The caption is written with each of two to ten in the place of its number word, and the text nearest
to the picture is what the model counts. How many there are is told by the sidecar `counts`, else by
`number` or `count` of the samples' records, else by the caption itself if it holds one number word.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eval.captions import digest, own_captions
from eval.datasets import EvalDataset
from eval.datasets.sidecars import has_sidecar, read_sidecar
from eval.interface import Task, TaskInput, TaskResult
from eval.spec import EvalSpec
from vlp.data.numbers import NUMBERS, find_numbers, with_each_number
from vlp.data.sidecars import COLUMNS, COUNTS
from vlp.metrics import chance
from vlp.metrics.choice import pair_scores
from vlp.metrics.counting import LOWEST, count_by_choice, count_metrics, count_outcomes

NAME = "counting"
TIE_RULE = "the true number must score strictly higher; of tied ones the farthest is predicted"
# how many there are, of what ("" if that is not known), and the captions that may tell it
Told = tuple[int, str, list[str]]


@dataclass(frozen=True)
class Counted:
    """The samples whose number is known."""

    rows: list[int]  # [k], in the data set
    counts: list[int]  # [k], 2 to 10
    texts: list[list[str]]  # [k][9], the caption with two to ten
    told_by: str
    stale: int  # rows of the sidecar that belong to another caption


def check(dataset: EvalDataset, spec: EvalSpec) -> None:
    """Raises ValueError when the task cannot run on this data."""
    captions = own_captions(NAME, dataset)
    counted = find_counted(dataset, captions)
    if not counted.rows:
        raise ValueError(
            f"task {NAME}: none of {len(dataset)} samples of data {dataset.path} has a caption "
            f"that tells its number, {NUMBERS[2]} to {NUMBERS[10]} (looked for in "
            f"{counted.told_by}; {counted.stale} rows belong to another source caption)"
        )


def run(given: TaskInput) -> TaskResult:
    """Let the model choose the number of every caption that tells one."""
    captions = own_captions(NAME, given.dataset)
    counted = find_counted(given.dataset, captions)
    if not counted.rows:
        raise ValueError(f"task {NAME}: no picture with a number can be read")
    texts = [text for own in counted.texts for text in own]  # [9 k]
    started = time.perf_counter()
    text = given.encode_text(texts)  # [9 k, D]
    truncated = given.truncated(texts)
    encoded = time.perf_counter()
    outcome = count_by_choice(_scores(given.image, text, counted), torch.tensor(counted.counts))
    metrics = count_metrics(outcome)
    guessed = dict.fromkeys(metrics, 1 / len(NUMBERS))  # of those that are accuracies
    return TaskResult(
        metrics=metrics,
        outcomes=count_outcomes(outcome),
        counts={
            "images": len(counted.rows),
            "texts": len(texts),
            "classes": len(NUMBERS),
            "ties": int(outcome.tied.sum()),
            "truncated_texts": truncated,
            "left_out": len(given.dataset) - len(counted.rows),
            "stale_rows": counted.stale,
        },
        protocol={
            "tie_rule": TIE_RULE,
            "numbers_from": counted.told_by,
            "captions_sha": digest(counted.texts),
        },
        predictions={
            "key": np.array([given.dataset.keys[row] for row in counted.rows]),
            "caption": np.array([own[n - LOWEST] for own, n in _pairs(counted)]),
            "label": outcome.labels,
            "predicted": outcome.predicted,
            "rank": outcome.rank,
            "top": outcome.top,
            "score": outcome.top_score,
            "classnames": np.array(list(NUMBERS.values())),
            "confusion": outcome.confusion,
        },
        chance={**guessed, **chance.counting(outcome.labels, len(NUMBERS))},
        seconds={"text": encoded - started, "metric": time.perf_counter() - encoded},
    )


def find_counted(dataset: EvalDataset, captions: list[list[str]]) -> Counted:
    """Every sample of which a number is known that one of its captions tells; that caption is used.

    Raises:
        ValueError: the sidecar stands beside some of the shards only, or is no such table.
    """
    told_by, told, stale = _told(dataset, captions)
    found = Counted([], [], [], told_by, stale)
    for row, number in enumerate(told):
        if number is None:
            continue
        count, noun, own = number
        texts = next(filter(None, (with_each_number(text, count, noun) for text in own)), None)
        if texts is not None:
            found.rows.append(row)
            found.counts.append(count)
            found.texts.append(texts)
    return found


def _told(dataset: EvalDataset, captions: list[list[str]]) -> tuple[str, list[Told | None], int]:
    """Who tells the numbers, those of each sample, and how many rows are stale."""
    if has_sidecar(dataset, COUNTS):
        sidecar = read_sidecar(dataset, COUNTS, COLUMNS[COUNTS])
        counts = [None if row is None else row.count() for row in sidecar.rows]
        told = [
            None if count is None else (count.number, count.noun, own)
            for count, own in zip(counts, captions, strict=True)
        ]
        return f"the sidecar {COUNTS}", told, sidecar.stale
    if any(number is not None for number in dataset.numbers or ()):
        assert dataset.numbers is not None
        numbers = [
            None if number is None else (number, "", own)
            for number, own in zip(dataset.numbers, captions, strict=True)
        ]
        return "the samples' records", numbers, 0
    return "the captions", [_only_number(own) for own in captions], 0


def _only_number(captions: list[str]) -> Told | None:
    """The number of the first caption that holds exactly one number word, and that caption alone:
    another one may say the same word of something else.
    """
    for text in captions:
        spans = find_numbers(text)
        if len(spans) == 1:
            return spans[0].count, "", [text]
    return None


def _scores(image: Tensor, text: Tensor, counted: Counted) -> Tensor:
    """[k, 9]"""
    rows = torch.tensor(counted.rows, device=image.device).repeat_interleave(len(NUMBERS))
    return pair_scores(image[rows], text).view(-1, len(NUMBERS))


def _pairs(counted: Counted) -> list[tuple[list[str], int]]:
    return list(zip(counted.texts, counted.counts, strict=True))


TASK = Task(
    name=NAME,
    main="count_acc",
    needs="captions that tell a number from two to ten",
    metrics="accuracy of the number, over all and of each; mean deviation",
    source="Paiss et al. 2023 (CountBench), arXiv 2302.12066",
    check=check,
    run=run,
)
