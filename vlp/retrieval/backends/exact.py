"""Exact search: every row is looked at, a memory-mapped block at a time."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vlp.retrieval.backends.base import Backend, Change, Scores, best, check_no_options
from vlp.retrieval.snapshot import Mask, Rows, Snapshot

# A product in float16 misses that of two unit vectors by at most 2^-11 for the rounded query and
# 2^-11 for the rounded result, as torch adds up in float32; a quarter more for norms of nearly 1.
_ERROR = 2.5 * 2.0**-11
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
    snapshot: Snapshot, queries: Scores, k: int, allowed: Mask
) -> tuple[Scores, Rows]:
    """`Backend.search` by brute force, of any snapshot."""
    if len(allowed) and allowed.mean() < 0.02:  # reading these alone is faster
        rows = np.flatnonzero(allowed)
        found = [best(_products(snapshot, rows, query), rows, k) for query in queries]
    else:
        found = [_search_one(snapshot, query, k, allowed) for query in queries]
    if not found:
        return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
    return np.stack([scores for scores, _ in found]), np.stack([rows for _, rows in found])


def _search_one(snapshot: Snapshot, query: Scores, k: int, allowed: Mask) -> tuple[Scores, Rows]:
    narrow = torch.from_numpy(query.astype(np.float16))
    rough: NDArray[np.float32] = np.empty(len(snapshot), np.float32)
    for first, block in snapshot.blocks():
        rough[first : first + len(block)] = torch.mv(torch.from_numpy(block), narrow).numpy()
    rough[~allowed] = -np.inf
    count = min(k, int(allowed.sum()))
    if not count:
        return best(np.empty(0, np.float32), np.empty(0, np.int64), k)
    bar = np.partition(rough, len(rough) - count)[len(rough) - count] - 2 * _ERROR
    rows = np.flatnonzero(rough >= bar)
    return best(_products(snapshot, rows, query), rows, k)


def _products(snapshot: Snapshot, rows: Rows, query: Scores) -> Scores:
    """Inner products of some rows with a query in float32, [m]."""
    parts = [
        snapshot.vectors(rows[at : at + _RESCORED]) @ query for at in range(0, len(rows), _RESCORED)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)
