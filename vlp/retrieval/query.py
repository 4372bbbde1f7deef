"""What is searched for, and what is found."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlp.errors import InputError

MOST_RESULTS = 10_000  # of one search
_LARGEST_ID = 2**63 - 1
_SHOWN = 80  # characters of a value in a message


@dataclass(frozen=True, kw_only=True)
class Query:
    """A search. Its parts (texts, images, like, vectors) add up to one direction.

    Args:
        texts: what to see.
        images: pictures like these, as `encode_image` takes them.
        like: ids of the index: pictures like these.
        vectors: directions [D] that were encoded elsewhere.
        without: texts that are not to be seen; half of their mean is subtracted.
        weights: of texts, images, like and vectors, in this order; default 1 each. Only their
            ratios matter.
        where: a condition on the metadata, e.g. `split = 'val' AND width > 500`; see
            `vlp.retrieval.conditions.rows_where`.
        k: how many results.
        offset: so many are left out, for further pages; k and offset are at most 10,000 together.
        threshold: the least cosine.
        least_percentile: the least percentile, 0 to 100, among the nearest 10,000.
        hubness: whether the nearest 1,000 are put in a new order, in which pictures that are near
            to every query come later.
        group: whether near-duplicates (cosine of 0.97 or more with one another) are shown as one.

    Raises:
        InputError: it is empty, or a field has a value that cannot be used.
    """

    texts: Sequence[str] = ()
    images: Sequence[Any] = ()
    like: Sequence[int] = ()
    vectors: Sequence[Any] = ()
    without: Sequence[str] = ()
    weights: Sequence[float] = ()
    where: str | None = None
    k: int = 20
    offset: int = 0
    threshold: float | None = None
    least_percentile: float | None = None
    hubness: bool = False
    group: bool = False

    def __post_init__(self) -> None:
        for name in ("texts", "images", "like", "vectors", "without", "weights"):
            value = getattr(self, name)
            if isinstance(value, str | bytes | Path | int | float):
                raise InputError(f"{name} is a list: [{shown(value)}] instead of {shown(value)}")
        parts = len(self.texts) + len(self.images) + len(self.like) + len(self.vectors)
        if not parts:
            raise InputError("the query is empty: it needs a text, a picture or an id")
        for text in (*self.texts, *self.without):
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"the query has an empty text, or one that is none: {shown(text)}")
        for own in self.like:
            whole = isinstance(own, int | np.integer) and not isinstance(own, bool)
            if not whole or not 0 <= own <= _LARGEST_ID:
                raise InputError(f"like: {shown(own)} is no id; ids are whole numbers from 0 on")
        if len(self.weights) not in (0, parts):
            raise InputError(f"{len(self.weights)} weights for {parts} parts of the query")
        if not all(np.isfinite(weight) and weight > 0 for weight in self.weights):
            raise InputError(f"weights must be more than 0, got {list(self.weights)}")
        self._check_numbers()

    def _check_numbers(self) -> None:
        if self.k < 1 or self.offset < 0 or self.k + self.offset > MOST_RESULTS:
            raise InputError(
                f"k {self.k} and offset {self.offset}: k must be 1 or more, offset 0 or more, "
                f"and both together at most {MOST_RESULTS}"
            )
        if self.threshold is not None and not -1 <= self.threshold <= 1:
            raise InputError(f"threshold {self.threshold}: a cosine is from -1 to 1")
        if self.least_percentile is not None and not 0 <= self.least_percentile <= 100:
            raise InputError(f"least_percentile {self.least_percentile}: it is from 0 to 100")


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A picture that was found.

    Args:
        id: its id in the index.
        cosine: with the query, -1 to 1.
        percentile: 0 to 100, share of generic queries of the same kind whose cosine with this
            picture is lower, to two digits; None where there are none, as for vectors from
            elsewhere.
        score: what the order goes by: the cosine, or corrected for hubness 2 cos - r(x).
        metadata: its row without the id.
        duplicates: ids of near-duplicates that it stands for.
    """

    id: int
    cosine: float
    percentile: float | None
    score: float
    metadata: dict[str, Any]
    duplicates: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search gives.

    Args:
        hits: best first.
        searched: how many pictures the condition lets through.
        more: whether there is a next page.
        notes: what the user should know, e.g. a text that was cut.
        vector: [D] the query's direction.
    """

    hits: list[Hit]
    searched: int
    more: bool
    notes: list[str] = field(default_factory=list)
    vector: NDArray[np.float32]


def shown(value: object) -> str:
    """A value in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
