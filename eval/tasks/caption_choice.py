"""Choosing the true caption of a picture among its near misses, from the sidecar `negatives`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from eval.captions import digest, own_captions
from eval.datasets import EvalDataset
from eval.datasets.sidecars import read_sidecar
from eval.interface import Array, Task, TaskInput, TaskResult
from eval.spec import EvalSpec
from vlp.data.sidecars import COLUMNS, NEGATIVES
from vlp.metrics import chance
from vlp.metrics.choice import Choice, choose, pair_scores
from vlp.metrics.outcomes import Outcome, clustered, mean_of

NAME = "caption_choice"
TIE_RULE = "the true caption must score strictly higher than the near miss"


@dataclass(frozen=True)
class NearMisses:
    """The samples that have near misses, and these."""

    rows: list[int]  # [k], in the data set
    texts: list[str]  # [m]
    kinds: list[str]  # [m]
    owner: NDArray[np.int64]  # [m], in 0..k-1
    stale: int  # rows of the sidecar that belong to another caption


def check(dataset: EvalDataset, spec: EvalSpec) -> None:
    """Raises ValueError when the task cannot run on this data."""
    own_captions(NAME, dataset)
    found = find_near_misses(dataset)
    if not found.rows:
        raise ValueError(
            f"task {NAME}: the sidecar {NEGATIVES} has no near miss for any of {len(dataset)} "
            f"samples of data {dataset.path} ({found.stale} rows belong to another source caption)"
        )


def run(given: TaskInput) -> TaskResult:
    """Compare the first caption of every picture with each of its near misses."""
    captions = own_captions(NAME, given.dataset)
    found = find_near_misses(given.dataset)
    if not found.rows:
        raise ValueError(f"task {NAME}: no picture with a near miss can be read")
    true = [captions[row][0] for row in found.rows]  # [k]
    started = time.perf_counter()
    text = given.encode_text([*true, *found.texts])  # [k + m, D]
    truncated = given.truncated([*true, *found.texts])
    encoded = time.perf_counter()

    rows = torch.tensor(found.rows, device=given.image.device)
    image = given.image[rows]  # [k, D]
    owner = torch.from_numpy(found.owner).to(image.device)
    true_scores = pair_scores(image, text[: len(true)]).cpu().numpy()
    wrong_scores = pair_scores(image[owner], text[len(true) :]).cpu().numpy()
    outcome = choose(true_scores, wrong_scores, found.owner)
    by_kind = _by_kind(found.kinds, outcome)
    return TaskResult(
        metrics={
            **outcome.metrics,
            **{name: float(outcome.beaten[misses].mean()) for name, misses in by_kind.items()},
        },
        outcomes=_outcomes(outcome, by_kind),
        counts={
            "images": len(true),
            "texts": len(true) + len(found.texts),
            "classes": None,
            "ties": int(outcome.tied.sum()),
            "truncated_texts": truncated,
            "left_out": len(given.dataset) - len(true),
            "stale_rows": found.stale,
        },
        protocol={
            "tie_rule": TIE_RULE,
            "captions": "first",
            "captions_sha": digest([true, found.texts, found.kinds]),
            "bootstrap": "clustered by picture",
        },
        predictions={
            "key": np.array([given.dataset.keys[row] for row in found.rows]),
            "caption": np.array(true),
            "true_score": true_scores,
            "miss": np.array(found.texts),
            "miss_kind": np.array(found.kinds),
            "miss_score": wrong_scores,
            "owner": found.owner,
        },
        chance={
            **dict.fromkeys(by_kind, 0.5),
            **chance.choice(np.bincount(found.owner, minlength=len(true))),
        },
        seconds={"text": encoded - started, "metric": time.perf_counter() - encoded},
    )


def find_near_misses(dataset: EvalDataset) -> NearMisses:
    """The near misses of every sample that has any.

    Raises:
        ValueError: the sidecar is missing or no such table, or a row has not one kind a text.
    """
    sidecar = read_sidecar(dataset, NEGATIVES, COLUMNS[NEGATIVES])
    rows: list[int] = []
    texts: list[str] = []
    kinds: list[str] = []
    owner: list[int] = []
    for place, row in enumerate(sidecar.rows):
        own = [] if row is None else row.negatives()
        if own:
            owner += [len(rows)] * len(own)
            rows.append(place)
            texts += [text for _, text in own]
            kinds += [kind for kind, _ in own]
    return NearMisses(rows, texts, kinds, np.array(owner, dtype=np.int64), sidecar.stale)


def _by_kind(kinds: Sequence[str], outcome: Choice) -> dict[str, Array]:
    """{name of the metric: the near misses of this kind}"""
    names = np.array(kinds)
    return {f"choice_acc_{kind}": np.flatnonzero(names == kind) for kind in sorted(set(kinds))}


def _outcomes(outcome: Choice, by_kind: dict[str, Array]) -> dict[str, Outcome]:
    """The units are pictures, each with all its near misses."""
    everything = np.arange(len(outcome.owner))
    pictures = len(outcome.all_beaten)
    kinds = {"choice_acc": everything, **by_kind}
    return {
        "choice_all_acc": mean_of(outcome.all_beaten),
        **{
            name: clustered(outcome.beaten[misses], outcome.owner[misses], pictures)
            for name, misses in kinds.items()
        },
    }


TASK = Task(
    name=NAME,
    main="choice_all_acc",
    needs="captions and the sidecar negatives",
    metrics="near misses beaten, by kind",
    source="Hsieh et al. 2023 (SugarCrepe), arXiv 2306.14610",
    check=check,
    run=run,
)
