"""Examples for the report: what the model got right and wrong, with the pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.comparison.flips import spread
from eval.datasets.selection import TEXT
from eval.interface import Array
from eval.report.thumbnails import Picture

_EACH = 4  # right ones and wrong ones of a kind
_SHOWN = 5
_WRITTEN = 9  # captions that the model wrote


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One entry of a ranked list."""

    score: float
    right: bool
    text: str = ""
    picture: str | None = None  # data URI


@dataclass(frozen=True, kw_only=True)
class Example:
    """A query, its answer and what the model put first."""

    right: bool
    rank: int
    text: str = ""  # the query, or the true class
    picture: str | None = None  # the query, or the answer
    top: Sequence[Candidate]


def text_to_image(saved: Mapping[str, Array], picture: Picture) -> list[Example]:
    """Captions as queries: the true picture, and the pictures that the model put first."""
    keys = saved["key"]
    found = []
    for query in _choose(saved["image_rank"]):
        answer = int(saved["owner"][query])
        top = [
            Candidate(score=float(score), right=int(row) == answer, picture=picture(str(keys[row])))
            for row, score in _top(saved, "image", query)
        ]
        rank = int(saved["image_rank"][query])
        text = str(saved["caption"][query])
        own = picture(str(keys[answer]))
        found.append(Example(right=rank == 1, rank=rank, text=text, picture=own, top=top))
    return found


def image_to_text(saved: Mapping[str, Array], picture: Picture) -> list[Example]:
    """Pictures as queries: the captions that the model put first, own ones marked."""
    found = []
    for query in _choose(saved["text_rank"]):
        top = [
            Candidate(
                score=float(score),
                right=int(saved["owner"][row]) == query,
                text=str(saved["caption"][row]),
            )
            for row, score in _top(saved, "text", query)
        ]
        rank = int(saved["text_rank"][query])
        own = picture(str(saved["key"][query]))
        found.append(Example(right=rank == 1, rank=rank, picture=own, top=top))
    return found


def classified(saved: Mapping[str, Array], picture: Picture) -> list[Example]:
    """Pictures with the classes that the model put first."""
    names = saved["classnames"]
    found = []
    for query in _choose(saved["rank"]):
        label = int(saved["label"][query])
        top = [
            Candidate(score=float(score), right=int(c) == label, text=str(names[c]))
            for c, score in zip(saved["top"][query, :3], saved["score"][query, :3], strict=True)
        ]
        rank = int(saved["rank"][query])
        own = picture(str(saved["key"][query]))
        text = str(names[label])
        found.append(Example(right=rank == 1, rank=rank, text=text, picture=own, top=top))
    return found


def chosen(saved: Mapping[str, Array], picture: Picture) -> tuple[list[Example], list[Example]]:
    """What is chosen among near misses, in the order in which the model ranks it.

    Within a tie the wrong ones come first.

    Returns:
        Pictures with their text and its near misses; texts with their picture and others.
    """
    of_text = saved["chosen"] == TEXT
    return (
        _chosen(saved, np.flatnonzero(of_text), picture),
        _chosen(saved, np.flatnonzero(~of_text), picture),
    )


def _chosen(saved: Mapping[str, Array], rows: NDArray[np.int64], picture: Picture) -> list[Example]:
    """Of comparisons that all choose a text, or all a picture."""
    same = np.stack([saved[name][rows] for name in ("item", "right_picture", "right_text")])
    _, query = np.unique(same, axis=1, return_inverse=True)
    query = query.reshape(-1)  # what each comparison asks
    lost = saved["wrong_score"][rows] >= saved["right_score"][rows]
    above = np.bincount(query, lost).astype(np.int64)
    found = []
    for one in _choose(1 + above):
        own = rows[query == one]
        wrong = [_candidate(saved, int(row), "wrong", picture) for row in own]
        answer = _candidate(saved, int(own[0]), "right", picture)
        top = sorted([*wrong, answer], key=lambda candidate: (-candidate.score, candidate.right))
        of_text = saved["chosen"][own[0]] == TEXT
        rank = 1 + int(above[one])
        found.append(
            Example(
                right=rank == 1,
                rank=rank,
                picture=answer.picture,
                text="" if of_text else answer.text,
                top=top,
            )
        )
    return found


def _candidate(saved: Mapping[str, Array], row: int, side: str, picture: Picture) -> Candidate:
    text = str(saved["text"][saved[f"{side}_text"][row]])
    kind = str(saved["kind"][row])
    return Candidate(
        score=float(saved[f"{side}_score"][row]),
        right=side == "right",
        text=f"{text} ({kind})" if kind and side == "wrong" else text,
        picture=picture(str(saved["picture_key"][saved[f"{side}_picture"][row]])),
    )


def written(saved: Mapping[str, Array], picture: Picture) -> list[dict[str, Any]]:
    """Pictures with the caption that the model wrote, evenly spread from the best to the worst."""
    order = np.argsort(-saved["caption_cider"], kind="stable")
    shown = min(_WRITTEN, len(order))
    rows = [int(order[i * len(order) // shown]) for i in range(shown)]
    return [
        {
            "picture": picture(str(saved["key"][row])),
            "text": str(saved["written"][row]),
            "reference": str(saved["caption"][row]),
            "score": float(saved["caption_cider"][row]),
        }
        for row in rows
    ]


def confused_pairs(counts: NDArray[np.int64], names: Sequence[str]) -> list[dict[str, Any]]:
    """The ten most frequent mistakes: true class, predicted class, how often, of how many."""
    mistakes = counts - np.diag(np.diag(counts))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:10]
    cells = [(int(cell) // len(names), int(cell) % len(names)) for cell in order]
    return [
        {
            "true": str(names[row]),
            "predicted": str(names[column]),
            "count": int(mistakes[row, column]),
            "of": int(counts[row].sum()),
        }
        for row, column in cells
        if mistakes[row, column] > 0
    ]


def _choose(rank: NDArray[np.int64]) -> list[int]:
    """Some right and some wrong queries, spread evenly over the data, so none is hand-picked."""
    right, wrong = np.flatnonzero(rank == 1), np.flatnonzero(rank > 1)
    return [*spread(right, _EACH), *spread(wrong, _EACH)]


def _top(saved: Mapping[str, Array], gallery: str, query: int) -> list[tuple[int, float]]:
    rows, scores = saved[f"{gallery}_top"][query], saved[f"{gallery}_score"][query]
    return list(zip(rows[:_SHOWN].tolist(), scores[:_SHOWN].tolist(), strict=True))
