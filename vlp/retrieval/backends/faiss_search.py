"""Approximate search: faiss tells candidates, the stored vectors decide; new rows are beside it."""

from bisect import bisect_left
from dataclasses import dataclass
from math import ceil, exp, log

import numpy as np

from vlp.retrieval.backends.base import Scores, best
from vlp.retrieval.backends.exact import products, search_exactly, stacked
from vlp.retrieval.backends.faiss_index import FaissIndex, Setting, selector
from vlp.retrieval.snapshot import Mask, Rows, Snapshot

_SLACK = 1.1  # times the deepest that was tuned, and it will do: a few rows may be removed
Settings = dict[int, Setting]  # by depth: so many nearest rows are found as well as was asked for


@dataclass(frozen=True)
class Searcher:
    """Finds rows of a snapshot, those that faiss does not have yet included.

    Args:
        snapshot: whose rows.
        index: of its first rows.
        settings: what tuning found; for deeper searches all rows are looked at.
    """

    snapshot: Snapshot
    index: FaissIndex
    settings: Settings

    def search(self, queries: Scores, k: int, allowed: Mask) -> tuple[Scores, Rows]:
        """As `Backend.search`."""
        covered = allowed[: len(self.index)]
        count = int(np.count_nonzero(covered))
        setting = self._setting(k, count / max(1, len(covered)))
        if setting is None:
            return search_exactly(self.snapshot, queries, k, allowed)
        chosen = selector(covered)
        found = []
        for query in queries:
            rows = self.index.nearest(query[None], setting, chosen)[0]
            rows = np.sort(rows[rows >= 0])
            rows = rows[covered[rows]]  # not every version of faiss heeds selectors everywhere
            if len(rows) < min(k, count):  # the cells that were looked at hold too few
                scores, rows = search_exactly(self.snapshot, query[None], k, allowed)
                found.append((scores[0], rows[0]))
                continue
            scores = products(self.snapshot, rows, query)
            newer = search_exactly(self.snapshot, query[None], k, allowed, first=len(self.index))
            real = newer[1][0] >= 0
            scores = np.concatenate([scores, newer[0][0][real]])
            found.append(best(scores, np.concatenate([rows, newer[1][0][real]]), k))
        return stacked(found, k)

    def _setting(self, k: int, share: float) -> Setting | None:
        """The setting for k of a share of the rows; None when looking at all is better.

        The k nearest of every tenth row lie as deep as the 10 k nearest of all.
        """
        if not share:
            return None
        found = interpolated(self.settings, k / share)
        if found is None:
            return None
        return Setting(found.effort, max(k, ceil(found.candidates * share)))


def interpolated(settings: Settings, depth: float) -> Setting | None:
    """The setting for a depth between those that were tuned; None beyond the last."""
    depths = sorted(settings)
    place = bisect_left(depths, depth)
    if place == len(depths):
        return settings[depths[-1]] if depth <= _SLACK * depths[-1] else None
    above = settings[depths[place]]
    if place == 0:
        return above
    below = settings[depths[place - 1]]
    part = log(depth / depths[place - 1]) / log(depths[place] / depths[place - 1])

    def between(low: int, high: int) -> int:
        return round(low * exp(part * log(high / low)))

    return Setting(between(below.effort, above.effort), between(below.candidates, above.candidates))
