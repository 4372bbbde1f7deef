"""Hashes that stay, searched by Hamming distance, exactly and without comparing all pairs.

Two hashes that differ in at most d bits are equal in one of d + 1 bands of the 64 bits (the
pigeonhole principle), so only hashes with an equal band are compared. The bands are kept in sorted
runs that are merged when they reach the same size, as in a log-structured merge tree.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

_BITS = 64
_AT_ONCE = 1 << 22  # pairs that are compared at a time
_NONE = np.iinfo(np.int64).max


class KeptHashes:
    """Hashes that stay.

    Args:
        limit: the largest number of bits, 1 to 63, in which near hashes differ.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        edges = [_BITS * band // (limit + 1) for band in range(limit + 2)]
        self._bands = list(pairwise(edges))
        self._runs: list[_SortedRun] = []

    def first(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `greedy.Kept`; values are [b] uint64."""
        lowest = np.full(len(values), _NONE)
        for run in self._runs:
            for band, (low, high) in enumerate(self._bands):
                for rows, places in run.candidates(band, _band(values, low, high)):
                    near = count_bits(run.hashes[places] ^ values[rows]) <= self._limit
                    np.minimum.at(lowest, rows[near], run.numbers[places[near]])
        found = np.where(lowest == _NONE, -1, lowest)
        return found, self._distance_to(found, values)

    def within(self, values: np.ndarray) -> np.ndarray:
        """As `greedy.Kept`."""
        bits = count_bits(values[:, None] ^ values[None]).astype(np.float64)
        return np.where(bits <= self._limit, bits, np.inf)

    def add(self, numbers: np.ndarray, values: np.ndarray) -> None:
        """As `greedy.Kept`."""
        if not len(numbers):
            return
        while self._runs and len(self._runs[-1].numbers) <= len(numbers):
            last = self._runs.pop()
            numbers = np.concatenate([last.numbers, numbers])
            values = np.concatenate([last.hashes, values])
        bands = [_sorted(_band(values, low, high)) for low, high in self._bands]
        self._runs.append(_SortedRun(numbers, values, bands))

    def _distance_to(self, found: np.ndarray, values: np.ndarray) -> np.ndarray:
        distance = np.zeros(len(values))
        for run in self._runs:  # numbers rise within a run and from run to run
            own = (found >= run.numbers[0]) & (found <= run.numbers[-1])
            places = np.searchsorted(run.numbers, found[own])
            distance[own] = count_bits(run.hashes[places] ^ values[own])
        return distance


@dataclass(frozen=True)
class _SortedRun:
    """Some of the hashes, [n], and of each band its values in order and the places of these."""

    numbers: np.ndarray
    hashes: np.ndarray
    bands: list[tuple[np.ndarray, np.ndarray]]

    def candidates(self, band: int, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs (row of `wanted`, place here) with an equal band, so many at a time."""
        values, places = self.bands[band]
        begin, end = (np.searchsorted(values, wanted, side) for side in ("left", "right"))
        counts = end - begin
        rows = np.flatnonzero(counts)
        while len(rows):
            taken = max(1, int(np.searchsorted(np.cumsum(counts[rows]), _AT_ONCE)))
            now, rows = rows[:taken], rows[taken:]
            sizes = counts[now]
            ends = np.cumsum(sizes)
            offsets = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
            yield np.repeat(now, sizes), places[np.repeat(begin[now], sizes) + offsets]


def count_bits(words: np.ndarray) -> np.ndarray:
    """Set bits of each uint64, by adding up ever larger groups of bits."""
    one, two, four, ones = map(
        np.uint64, (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F, 0x0101010101010101)
    )
    pairs = words - ((words >> np.uint64(1)) & one)
    fours = (pairs & two) + ((pairs >> np.uint64(2)) & two)
    bytes_ = (fours + (fours >> np.uint64(4))) & four
    counts: np.ndarray = ((bytes_ * ones) >> np.uint64(56)).astype(np.int64)
    return counts


def _band(values: np.ndarray, low: int, high: int) -> np.ndarray:
    """Bits low to high of each hash, as uint32."""
    mask = np.uint64((1 << (high - low)) - 1)
    bits: np.ndarray = ((values >> np.uint64(low)) & mask).astype(np.uint32)
    return bits


def _sorted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(values, kind="stable").astype(np.uint32)
    return values[order], order
