"""Examples for the report: what the model got right and wrong, with the pictures."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.datasets import EvalDataset, open_dataset
from eval.interface import Array
from vlp.data.images import UnreadableImageError

_EACH = 4  # right ones and wrong ones of a kind
_SIDE = 120  # pixels of a thumbnail
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


def thumbnails(saved: Mapping[str, Array]) -> tuple[Callable[[int], str | None], str | None]:
    """Row of the predictions -> picture as a data URI, and why pictures are missing, if they are.

    The pictures are read from the data set again, by key, if it is the one that was evaluated.
    """
    try:
        dataset = open_dataset(str(saved["data"]), str(saved["split"]) or None)
    except (OSError, ValueError) as error:
        return _no_picture, f"no pictures, as the data cannot be read: {error}"
    dataset = dataset.limited(int(saved["limit"]) or None)
    if dataset.fingerprint != str(saved["data_sha"]):
        return _no_picture, "no pictures, as the data has changed since the evaluation"
    place = {key: position for position, key in enumerate(dataset.keys)}
    cache: dict[int, str | None] = {}

    def thumbnail(row: int) -> str | None:
        if row not in cache:
            cache[row] = _thumbnail(dataset, place.get(str(saved["key"][row])))
        return cache[row]

    return thumbnail, None


def _no_picture(_: int) -> None:
    return None


def text_to_image(
    saved: Mapping[str, Array], picture: Callable[[int], str | None]
) -> list[Example]:
    """Captions as queries: the true picture, and the pictures that the model put first."""
    found = []
    for query in _choose(saved["image_rank"]):
        answer = int(saved["owner"][query])
        top = [
            Candidate(score=float(score), right=int(row) == answer, picture=picture(int(row)))
            for row, score in _top(saved, "image", query)
        ]
        rank = int(saved["image_rank"][query])
        text = str(saved["caption"][query])
        found.append(
            Example(right=rank == 1, rank=rank, text=text, picture=picture(answer), top=top)
        )
    return found


def image_to_text(
    saved: Mapping[str, Array], picture: Callable[[int], str | None]
) -> list[Example]:
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
        found.append(Example(right=rank == 1, rank=rank, picture=picture(query), top=top))
    return found


def classified(saved: Mapping[str, Array], picture: Callable[[int], str | None]) -> list[Example]:
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
        found.append(
            Example(
                right=rank == 1, rank=rank, text=str(names[label]), picture=picture(query), top=top
            )
        )
    return found


def chosen(saved: Mapping[str, Array], picture: Callable[[int], str | None]) -> list[Example]:
    """Pictures with their caption and its near misses, in the order in which the model ranks them.

    Within a tie the near misses come first.
    """
    owner, true, wrong = saved["owner"], saved["true_score"], saved["miss_score"]
    above = np.bincount(owner, wrong >= true[owner], len(true)).astype(np.int64)
    found = []
    for query in _choose(1 + above):
        caption = str(saved["caption"][query])
        misses = [
            Candidate(score=float(wrong[row]), right=False, text=_miss(saved, row))
            for row in np.flatnonzero(owner == query).tolist()
        ]
        answer = Candidate(score=float(true[query]), right=True, text=caption)
        top = sorted([*misses, answer], key=lambda candidate: (-candidate.score, candidate.right))
        rank = 1 + int(above[query])
        found.append(Example(right=rank == 1, rank=rank, picture=picture(query), top=top))
    return found


def _miss(saved: Mapping[str, Array], row: int) -> str:
    return f"{saved['miss'][row]} ({saved['miss_kind'][row]})"


def written(
    saved: Mapping[str, Array], picture: Callable[[int], str | None]
) -> list[dict[str, Any]]:
    """Pictures with the caption that the model wrote, evenly spread from the best to the worst."""
    order = np.argsort(-saved["caption_cider"], kind="stable")
    shown = min(_WRITTEN, len(order))
    rows = [int(order[i * len(order) // shown]) for i in range(shown)]
    return [
        {
            "picture": picture(row),
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
    chosen: list[int] = []
    for rows in (np.flatnonzero(rank == 1), np.flatnonzero(rank > 1)):
        count = min(_EACH, len(rows))
        # the middle of each of `count` equal stretches
        chosen += [int(rows[(2 * i + 1) * len(rows) // (2 * count)]) for i in range(count)]
    return chosen


def _top(saved: Mapping[str, Array], gallery: str, query: int) -> list[tuple[int, float]]:
    rows, scores = saved[f"{gallery}_top"][query], saved[f"{gallery}_score"][query]
    return list(zip(rows[:_SHOWN].tolist(), scores[:_SHOWN].tolist(), strict=True))


def _thumbnail(dataset: EvalDataset, position: int | None) -> str | None:
    if position is None:
        return None
    try:
        _, image = dataset.item(position)
    except UnreadableImageError:
        return None
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
