"""From a query's direction to hits: order, thresholds, near-duplicates, percentiles, pages."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from vlp.retrieval.directions import Direction
from vlp.retrieval.query import Found, Hit, Query
from vlp.retrieval.snapshot import ID, Mask, Rows

if TYPE_CHECKING:
    from vlp.retrieval.backends.base import Scores
    from vlp.retrieval.retriever import View

_DUPLICATE = 0.97  # cosine from which two pictures count as the same
_RERANKED = 1000  # at least so many of the nearest are put in a new order by hubness


class Ranking:
    """One search.

    Args:
        view: the index.
        query: what was asked.
        asked: its direction.
        allowed: [n] rows that may be found.
    """

    def __init__(self, view: "View", query: Query, asked: Direction, allowed: Mask) -> None:
        self.view = view
        self.query = query
        self.asked = asked
        self.allowed = allowed
        self.searched = int(allowed.sum())

    def found(self, notes: list[str]) -> Found:
        """The hits of the page that was asked for."""
        unit = self.asked.unit
        last = self.query.offset + self.query.k
        groups = self._groups(last + 1)
        page = groups[self.query.offset : last]
        hits = self._hits(page)
        return Found(
            hits=hits, searched=self.searched, more=len(groups) > last, notes=notes, vector=unit
        )

    def _candidates(self, count: int) -> "tuple[Rows, Scores, Scores]":
        """(rows, cosines, scores by which they are ordered) of the nearest, best first."""
        reranked = max(_RERANKED, 20 * count) if self.query.hubness else count
        cosines, rows = self.view.backend.search(
            self.asked.unit[None], max(1, min(reranked, self.searched)), self.allowed
        )
        cosines, rows = cosines[0][rows[0] >= 0], rows[0][rows[0] >= 0]
        if self.query.threshold is not None:
            kept = cosines >= self.query.threshold
            cosines, rows = cosines[kept], rows[kept]
        if not self.query.hubness:
            return rows, cosines, cosines
        scores = 2 * cosines - self.view.snapshot.hubness(rows)
        order = np.lexsort((rows, -scores))[:count]
        return rows[order], cosines[order], scores[order]

    def _groups(self, count: int) -> list[list[tuple[int, float, float]]]:
        """At most `count` groups of (row, cosine, score); of near-duplicates the best first."""
        wanted = count if not self.query.group else 3 * count
        while True:
            rows, cosines, scores = self._candidates(wanted)
            entries = list(zip(rows.tolist(), cosines.tolist(), scores.tolist(), strict=True))
            groups = [[entry] for entry in entries]
            if self.query.group:
                groups = list(self._joined(entries, rows))
            if len(groups) >= count or len(rows) < wanted or wanted >= self.searched:
                return groups[:count]
            wanted *= 4

    def _joined(
        self, entries: list[tuple[int, float, float]], rows: Rows
    ) -> Iterator[list[tuple[int, float, float]]]:
        vectors = self.view.snapshot.vectors(rows)
        taken = np.zeros(len(rows), np.bool_)
        for place in range(len(rows)):
            if taken[place]:
                continue
            alike = (vectors @ vectors[place] >= _DUPLICATE) & ~taken
            alike[place] = True
            taken |= alike
            yield [entries[place], *(entries[i] for i in np.flatnonzero(alike) if i != place)]

    def _hits(self, page: list[list[tuple[int, float, float]]]) -> list[Hit]:
        rows = np.array([group[0][0] for group in page], np.int64)
        table = self.view.snapshot.table(rows).to_pylist()
        percentiles = self._percentiles(rows)
        hits = []
        for group, metadata, percentile in zip(page, table, percentiles, strict=True):
            (_, cosine, score), others = group[0], group[1:]
            own = int(metadata.pop(ID))
            duplicates = tuple(self.view.snapshot.ids[[row for row, _, _ in others]].tolist())
            hits.append(
                Hit(
                    id=own,
                    cosine=cosine,
                    percentile=percentile,
                    score=score,
                    metadata=metadata,
                    duplicates=duplicates,
                )
            )
        return hits

    def _percentiles(self, rows: Rows) -> list[float | None]:
        background = self.view.background
        if background is None or not len(rows):
            return [None] * len(rows)
        vectors = self.view.snapshot.vectors(rows)
        others = self.asked.background(background.texts, self.view.sampled)
        below = (vectors @ others.T) < (vectors @ self.asked.unit)[:, None]
        shares: list[float] = (100 * below.mean(axis=1)).tolist()
        return list(shares)
