"""Samples on which two models differ: one is right where the other is wrong, and what each said."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from eval.datasets.selection import TEXT
from eval.interface import Array
from vlp.metrics.choice import solved_items
from vlp.metrics.outcomes import ClassMean, Linear, Outcome, Ratio

Saved = Mapping[str, Array]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Flip:
    """One sample, and what the two models said of it."""

    key: str  # of the sample, or the name of the item
    better: str  # "A" or "B"
    truth: str  # what is right, "" where the task has no single answer
    a: str
    b: str
    pictures: list[str]  # keys


@dataclass(frozen=True, kw_only=True)
class Flips:
    """All samples on which two models differ, counted, and some of them."""

    a_better: int
    b_better: int
    shown: list[Flip]


NONE = Flips(a_better=0, b_better=0, shown=[])


def find_flips(saved: tuple[Saved, Saved], outcomes: tuple[Outcome, Outcome], limit: int) -> Flips:
    """The samples that one model gets more of than the other, `limit` each way shown.

    Those shown are spread evenly over the data, so that none is hand-picked. Outcomes that are no
    hits and misses, or of other units than the samples of the predictions, have no flips.

    Args:
        saved: the predictions of A and B, of the same samples in the same order.
        outcomes: of one metric.
        limit: at most so many each way.
    """
    a, b = (_hits(own, outcome) for own, outcome in zip(saved, outcomes, strict=True))
    if a is None or b is None:
        return NONE
    better = {"A": np.flatnonzero(a > b), "B": np.flatnonzero(a < b)}
    shown = [
        Flip(
            key=str(saved[0]["key"][row]),
            better=name,
            truth=_truth(saved[0], row),
            a=_said(saved[0], row),
            b=_said(saved[1], row),
            pictures=_pictures(saved[0], row),
        )
        for name, rows in better.items()
        for row in spread(rows, limit)
    ]
    return Flips(a_better=len(better["A"]), b_better=len(better["B"]), shown=shown)


def discordant(one: Outcome, other: Outcome) -> int | None:
    """The units to which two models give something else; None where units are not separate."""
    if isinstance(one, ClassMean) and isinstance(other, ClassMean):
        return int((one.correct != other.correct).sum())
    if isinstance(one, Ratio | Linear) and isinstance(other, Ratio | Linear):
        differ = np.atleast_2d(one.sums != other.sums).any(0)  # of each unit in any part
        return int(differ.sum())
    return None


def spread(rows: NDArray[np.int64], count: int) -> list[int]:
    """At most `count` of some rows: the middle of each of `count` equal stretches."""
    count = min(count, len(rows))
    return [int(rows[(2 * i + 1) * len(rows) // (2 * count)]) for i in range(count)]


def _hits(saved: Saved, outcome: Outcome) -> Floats | None:
    """How often each sample [n] was right, over all parts of the metric; None for other metrics."""
    match outcome:
        case _ if "right_score" in saved:  # whose units are photos, with several items each
            _, solved = solved_items(saved["item"], saved["right_score"] > saved["wrong_score"])
            counted = solved.astype(np.float64)
        case Ratio():
            counted = outcome.sums
        case Linear():
            counted = outcome.sums.sum(0)
        case ClassMean():
            counted = outcome.correct.astype(np.float64)
        case _:
            return None
    whole = bool((counted == np.round(counted)).all())
    return counted if whole and len(counted) == len(saved["key"]) else None


def _truth(saved: Saved, row: int) -> str:
    if "right_score" in saved:
        texts = saved["right_text"][saved["item"] == row]
        return " / ".join(str(saved["text"][text]) for text in np.unique(texts))
    if "classnames" in saved and "label" in saved:
        return str(saved["classnames"][saved["label"][row]])
    if "image_rank" in saved:
        first = int(np.flatnonzero(saved["owner"] == row)[0])
        return str(saved["caption"][first])
    return ""


def _said(saved: Saved, row: int) -> str:
    for needed, say in _SAYS.items():
        if needed in saved:
            return say(saved, row)
    return ""


def _pictures(saved: Saved, row: int) -> list[str]:
    if "right_score" not in saved:
        return [str(saved["key"][row])]
    own = np.unique(saved["right_picture"][saved["item"] == row])
    return [str(saved["picture_key"][picture]) for picture in own]


def _class(saved: Saved, row: int) -> str:
    rank = int(saved["rank"][row])
    name = str(saved["classnames"][saved["predicted"][row]])
    return name if rank == 1 else f"{name} (the right one at {rank:,})"


def _ranks(saved: Saved, row: int) -> str:
    first = str(saved["caption"][saved["text_top"][row, 0]])
    own = saved["image_rank"][saved["owner"] == row]
    places = ", ".join(f"{rank:,}" for rank in own.tolist())
    text_rank = int(saved["text_rank"][row])
    other = "" if text_rank == 1 else f"; first “{first}”"
    return f"own caption at {text_rank:,}, picture at {places}{other}"


def _choice(saved: Saved, row: int) -> str:
    """The comparison that is lost by most, or how the closest one was won."""
    rows = np.flatnonzero(saved["item"] == row)
    margin = saved["right_score"][rows].astype(np.float64) - saved["wrong_score"][rows]
    worst = rows[margin.argmin()]
    least = float(margin.min())
    if least > 0:
        return f"right, by {least:.3f}"
    if saved["chosen"][worst] == TEXT:
        return f"“{saved['text'][saved['wrong_text'][worst]]}”, by {-least:.3f}"
    wanted = saved["text"][saved["right_text"][worst]]
    return f"another picture for “{wanted}”, by {-least:.3f}"


# by an array that the predictions of a task have, what a model said of a sample
_SAYS: Mapping[str, Callable[[Saved, int], str]] = MappingProxyType(
    {"predicted": _class, "image_rank": _ranks, "right_score": _choice}
)
