"""Exact search: every row is looked at, a memory-mapped block at a time."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vlp.retrieval.backends.base import Backend, Change, Scores, best, check_no_options
from vlp.retrieval.snapshot import Mask, Rows, Snapshot, Vectors

# A product in float16 misses that of two unit vectors by at most 2^-11 for the rounded query and
# 2^-11 for the rounded result, which is below 2, as torch adds up in float32. A quarter more: rows
# may have norms up to 1.01, and sums in float32 are rounded, too.
_ERROR = 2.5 * 2.0**-11
_NARROW = 0.02  # share of allowed rows below which it is faster to fetch these alone
_RESCORED = 1 << 15  # rows that are looked at again in one go


class ExactBackend(Backend):
    """Products in float16 narrow the rows down, float32 decides: the result is that of float32."""

    name = "exact"

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        return check_no_options(cls.name, options)

    @classmethod
    def update(cls, change: Change) -> dict[str, Any]:
        return {}  # the rows themselves are all that it needs

    def search(self, queries: Scores, k: int, allowed: Mask) -> tuple[Scores, Rows]:
        return search_exactly(self.snapshot, queries, k, allowed)


def search_exactly(
    snapshot: Snapshot, queries: Scores, k: int, allowed: Mask, first: int = 0
) -> tuple[Scores, Rows]:
    """`Backend.search` by brute force, of any snapshot.

    Args:
        snapshot: whose rows are searched.
        queries: [q, D] float32, unit vectors.
        k: at most so many rows of each.
        allowed: [n] rows that may be found.
        first: rows before this one are left out.
    """
    here = allowed[first:]
    count = int(np.count_nonzero(here))
    if count < _NARROW * len(here) or not count:
        rows = first + np.flatnonzero(here)
        found = [best(products(snapshot, rows, query), rows, k) for query in queries]
    else:
        barred = None if count == len(here) else ~here
        keep = max(1, min(k, count))
        found = []
        for query in queries:
            rough = _rough(snapshot, query, first)
            if barred is not None:
                rough[barred] = -np.inf
            bar = np.partition(rough, len(rough) - keep)[len(rough) - keep] - 2 * _ERROR
            rows = first + np.flatnonzero(rough >= bar)
            found.append(best(products(snapshot, rows, query), rows, k))
    return stacked(found, k)


def stacked(found: list[tuple[Scores, Rows]], k: int) -> tuple[Scores, Rows]:
    """What `best` found for each query as one, [q, k]."""
    if not found:
        return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
    return np.stack([scores for scores, _ in found]), np.stack([rows for _, rows in found])


def products(snapshot: Snapshot, rows: Rows, query: Scores) -> Scores:
    """Inner products of some rows with a query in float32, [m].

    Equal rows get equal products, in whatever company, which BLAS does not promise: the order of
    hits is the same on every page.
    """
    found = np.empty(len(rows), np.float32)
    for at in range(0, len(rows), _RESCORED):
        vectors = snapshot.vectors(rows[at : at + _RESCORED])
        found[at : at + _RESCORED] = np.einsum("md,d->m", vectors, query)
    return found


def _rough(snapshot: Snapshot, query: Scores, first: int) -> NDArray[np.float32]:
    """Inner products of all rows from the first on, within `_ERROR`, [n - first]."""
    narrow = torch.from_numpy(query.astype(np.float16))
    rough: NDArray[np.float32] = np.empty(len(snapshot) - first, np.float32)
    for start, block in _blocks(snapshot, first):
        scores = torch.mv(torch.from_numpy(block), narrow).numpy()
        rough[start - first : start - first + len(block)] = scores
    return rough


def _blocks(snapshot: Snapshot, first: int) -> Iterator[tuple[int, Vectors]]:
    for start, block in snapshot.blocks():
        if start + len(block) > first:
            skipped = max(0, first - start)
            yield start + skipped, block[skipped:]
