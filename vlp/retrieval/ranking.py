"""From a query's direction to hits: order, thresholds, near-duplicates, percentiles, pages."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vlp.errors import InputError
from vlp.retrieval.background import mean_of_largest
from vlp.retrieval.directions import Direction, Generic
from vlp.retrieval.query import MOST_RESULTS, Found, Hit, Query
from vlp.retrieval.snapshot import ID, Mask, Rows

if TYPE_CHECKING:
    from vlp.retrieval.retriever import View

# Cosine from which two pictures count as the same. With a small model trained on Flickr8k, photos
# that were written again as JPEG (quality 30 to 75) or scaled by 3/4 kept 0.975 to 1.000, cut by
# 5% on each side 0.92 to 1.00; 0.7% of 2,000 photos had another one above 0.97. Of 500 photos of
# COCO with CLIP ViT-B/32 none had, the nearest two being at 0.963.
DUPLICATE = 0.97
RERANKED = 1000  # of the nearest are put in a new order by hubness, then the others
_LOOKED_AT = MOST_RESULTS + 1  # of the nearest; one more than is shown tells of a next page
_TIERS = (256, 2048, _LOOKED_AT)
_BLOCK = 4096  # rows whose percentiles are computed in one go
_LEADERS = 256  # rows that are compared with all later ones in one go

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """Rows in the order in which they are shown.

    Args:
        rows: [m].
        cosines: [m].
        scores: [m] by which they are ordered.
    """

    rows: Rows
    cosines: Scores
    scores: Scores

    def where(self, kept: Mask | Rows) -> "Candidates":
        """Some of them, or all in another order."""
        return Candidates(self.rows[kept], self.cosines[kept], self.scores[kept])


@dataclass
class Group:
    """A row that is shown, and near-duplicates that it stands for."""

    row: int
    cosine: float
    score: float
    others: list[int]


class Ranking:
    """One search.

    Candidates come in tiers, the nearest 256 first, and what was ordered stays as it is when more
    are needed: a further page never repeats or leaves out what an earlier one showed or would have
    shown.

    Args:
        view: the index.
        query: what was asked.
        asked: its direction.
        allowed: [n] rows that may be found.

    Raises:
        InputError: the index lacks what the query's options need, or its parts cancel out.
    """

    def __init__(self, view: "View", query: Query, asked: Direction, allowed: Mask) -> None:
        self.view = view
        self.query = query
        self.asked = asked
        self.allowed = allowed
        self.unit = asked.unit
        self.searched = int(allowed.sum())
        needs = query.hubness or query.least_percentile is not None
        if needs and self.searched and self._others[0] is None:
            raise InputError(
                f"{'hubness' if query.hubness else 'least_percentile'}: the index has no generic "
                "queries of the same kind: vectors from elsewhere have none, texts need an index "
                "that knows its model, and pictures one of at least two pictures"
            )

    def found(self, notes: list[str]) -> Found:
        """The hits of the page that was asked for."""
        last = self.query.offset + self.query.k
        groups = self._groups(last + 1)
        return Found(
            hits=self._hits(groups[self.query.offset : last]),
            searched=self.searched,
            more=len(groups) > last and last < MOST_RESULTS,
            notes=notes,
            vector=self.unit,
        )

    def _groups(self, count: int) -> list[Group]:
        """The first `count` groups, or all there are; of near-duplicates the best is shown."""
        groups: list[Group] = []
        for candidates in self._tiers():
            if self.query.group:
                self._join(groups, candidates, count)
            else:
                groups += _alone(candidates)
            if len(groups) >= count:
                break
        return groups[:count]

    def _tiers(self) -> Iterator[Candidates]:
        """Candidates that pass the thresholds, best first within each tier."""
        seen = np.empty(0, np.int64)
        for tier in (RERANKED, _LOOKED_AT) if self.query.hubness else _TIERS:
            size = min(tier, self.searched)
            if len(seen) >= size:
                return
            cosines, rows = self.view.backend.search(self.unit[None], size, self.allowed)
            new = (rows[0] >= 0) & ~np.isin(rows[0], seen)
            # norms in float16 are not quite 1
            rows, cosines = rows[0][new], np.clip(cosines[0][new], -1, 1)
            seen = np.concatenate([seen, rows])
            yield self._ordered(rows, cosines)
            least = self.query.threshold
            if least is not None and len(cosines) and cosines.min() < least:
                return  # what is farther away is below the threshold too

    def _ordered(self, rows: Rows, cosines: Scores) -> Candidates:
        candidates = Candidates(rows, cosines, cosines)
        if self.query.hubness:
            scores = 2 * cosines - self._hubness(rows)
            candidates = Candidates(rows, cosines, scores).where(np.lexsort((rows, -scores)))
        if self.query.threshold is not None:
            candidates = candidates.where(candidates.cosines >= self.query.threshold)
        if self.query.least_percentile is not None:
            percentiles = self._percentiles(candidates.rows)
            candidates = candidates.where(percentiles >= self.query.least_percentile)
        return candidates

    def _join(self, groups: list[Group], candidates: Candidates, count: int) -> None:
        """Let each candidate join the first group that it is like, or begin one."""
        known = len(groups)
        entries = [*groups, *_alone(candidates)]
        vectors = self.view.snapshot.vectors([entry.row for entry in entries])
        free = np.arange(len(entries)) >= known
        for at in range(0, len(entries), _LEADERS):
            alike = vectors[at : at + _LEADERS] @ vectors[at:].T >= DUPLICATE
            for place, like_it in enumerate(alike, at):
                if place >= known:
                    if len(groups) >= count:
                        return
                    if not free[place]:
                        continue
                    groups.append(entries[place])
                    free[place] = False
                others = at + np.flatnonzero(free[at:] & like_it)
                entries[place].others += [entries[other].row for other in others]
                free[others] = False

    def _hits(self, page: list[Group]) -> list[Hit]:
        rows = np.array([group.row for group in page], np.int64)
        ids = self.view.snapshot.ids
        table = self.view.snapshot.table(rows).to_pylist()
        percentiles = self._percentiles(rows).tolist()
        return [
            Hit(
                id=int(metadata.pop(ID)),
                cosine=group.cosine,
                percentile=None if np.isnan(percentile) else percentile,
                score=group.score,
                metadata=metadata,
                duplicates=tuple(ids[group.others].tolist()),
            )
            for group, metadata, percentile in zip(page, table, percentiles, strict=True)
        ]

    @cached_property
    def _others(self) -> tuple[Generic | None, Rows]:
        """(what the query is compared with, the rows that went into it).

        Pictures that are parts of the query are not among them.
        """
        background, sample = self.view.background, self.view.sample
        nothing = np.empty((0, len(self.unit)), np.float32)
        texts = nothing if background is None else background.texts
        own = [part.row for part in self.asked.parts if part.row is not None]
        kept = ~np.isin(sample.rows, own)
        generic = self.asked.generic(texts, sample.vectors[kept])
        if generic is None:
            return None, np.empty((0, 0), np.int64)
        return generic, sample.rows[kept][generic.pictures]

    def _percentiles(self, rows: Rows) -> NDArray[np.float64]:
        """[m] in 0 to 100: share of generic queries that score lower; NaN where there are none."""
        found = np.full(len(rows), np.nan)
        for at, cosines in self._generic_cosines(rows):
            own = self.view.snapshot.vectors(rows[at : at + len(cosines)]) @ self.unit
            counted = ~np.isnan(cosines)
            lower = (cosines < own[:, None]).sum(axis=1)  # NaN is not lower
            number = counted.sum(axis=1)
            shares = np.round(100 * lower / np.maximum(number, 1), 2)
            found[at : at + len(own)] = np.where(number > 0, shares, np.nan)
        return found

    def _hubness(self, rows: Rows) -> Scores:
        """[m] mean of the largest cosines with generic queries; of texts as it is stored."""
        if [part.kind for part in self.asked.parts] == ["text"] and not len(self.asked.negatives):
            return self.view.snapshot.hubness(rows)
        found = np.zeros(len(rows), np.float32)
        for at, cosines in self._generic_cosines(rows):
            found[at : at + len(cosines)] = mean_of_largest(np.nan_to_num(cosines, nan=-1.0))
        return found

    def _generic_cosines(self, rows: Rows) -> Iterator[tuple[int, Scores]]:
        """(first place, cosines [m, b] with generic queries) of all rows, some at a time.

        NaN where the generic query was made from the very picture.
        """
        generic, used = self._others  # [b, p]
        if generic is None:
            return
        for at in range(0, len(rows), _BLOCK):
            part = rows[at : at + _BLOCK]
            cosines = self.view.snapshot.vectors(part) @ generic.vectors.T
            cosines[(used[None] == part[:, None, None]).any(axis=2)] = np.nan
            yield at, cosines


def _alone(candidates: Candidates) -> list[Group]:
    columns = (candidates.rows, candidates.cosines, candidates.scores)
    entries = zip(*(column.tolist() for column in columns), strict=True)
    return [Group(row, cosine, score, []) for row, cosine, score in entries]
