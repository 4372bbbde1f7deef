"""Which of near pictures stays: in canonical order, whatever is near to one that stays goes.

A picture goes where an earlier one that stays is near; one that went drags nothing along. So no
chain of near pictures ends far from its keeper, every picture that goes is near its keeper, and no
two that stay are near each other.
"""

from typing import Protocol

import numpy as np

_BLOCK = 1024  # pictures that are compared at a time; the result does not depend on it


class Kept(Protocol):
    """The values of pictures that stay, to be searched."""

    def first(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The lowest number among those near each value, [b], -1 without one; its distance, [b]."""

    def within(self, values: np.ndarray) -> np.ndarray:
        """Distances among values, [b, b]; infinite where they are not near."""

    def add(self, numbers: np.ndarray, values: np.ndarray) -> None:
        """Further pictures that stay; numbers rise from call to call."""


def greedy(values: np.ndarray, kept: Kept, block: int = _BLOCK) -> tuple[np.ndarray, np.ndarray]:
    """The keeper of every picture.

    Args:
        values: [n, ...] in canonical order.
        kept: empty; decides what is near.
        block: pictures at a time.

    Returns:
        The number of each one's keeper, [n], -1 where it stays itself: the first that stays of
        those near; and the distance to it, [n].
    """
    keeper = np.full(len(values), -1, np.int64)
    distance = np.zeros(len(values))
    for start in range(0, len(values), block):
        numbers = np.arange(start, min(start + block, len(values)))
        keeper[numbers], distance[numbers] = kept.first(values[numbers])
        numbers = numbers[keeper[numbers] < 0]
        among = kept.within(values[numbers])
        stays = np.ones(len(numbers), bool)
        has_earlier = (np.isfinite(among) & np.tri(len(among), k=-1, dtype=bool)).any(1)
        for row in np.flatnonzero(has_earlier):
            near = np.flatnonzero(np.isfinite(among[row, :row]) & stays[:row])
            if len(near):
                stays[row] = False
                keeper[numbers[row]] = numbers[near[0]]
                distance[numbers[row]] = among[row, near[0]]
        kept.add(numbers[stays], values[numbers[stays]])
    return keeper, distance


def equal_ones(values: np.ndarray) -> np.ndarray:
    """For each row of [n, w] uint64 the first row that equals it, [n]."""
    rows = np.ascontiguousarray(values).view(f"S{8 * values.shape[1]}")[:, 0]
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    found: np.ndarray = first[inverse]
    return found
