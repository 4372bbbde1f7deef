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
from eval.interface import Array, TaskInput, TaskResult
from eval.spec import EvalSpec
from vlp.data.sidecars import COLUMNS, NEGATIVES
from vlp.metrics import chance
from vlp.metrics.bootstrap import Interval, intervals_of_ratios
from vlp.metrics.choice import Choice, choose, pair_scores

NAME = "caption_choice"
OPTIONS: frozenset[str] = frozenset()
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
        ci95=_intervals(outcome, by_kind, given.spec.seed),
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


def _intervals(outcome: Choice, by_kind: dict[str, Array], seed: int) -> dict[str, Interval | None]:
    everything = np.arange(len(outcome.owner))
    ones = np.ones(len(outcome.all_beaten))
    found = intervals_of_ratios(
        {"choice_all_acc": outcome.all_beaten.astype(np.float64)},
        {"choice_all_acc": ones},
        seed=seed,
    )
    for name, misses in {"choice_acc": everything, **by_kind}.items():
        # only pictures with such a near miss: a resample without any would have no share
        _, cluster = np.unique(outcome.owner[misses], return_inverse=True)
        hits = np.bincount(cluster, outcome.beaten[misses]).astype(np.float64)
        each = np.bincount(cluster).astype(np.float64)
        found |= intervals_of_ratios({name: hits}, {name: each}, seed=seed)
    return found
