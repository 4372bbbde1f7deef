"""Embeddings that stay, searched by cosine similarity."""

import numpy as np

_AT_ONCE = 1 << 15  # embeddings that are compared at a time


class KeptEmbeddings:
    """Unit vectors that stay; two are near when their cosine is above 1 - epsilon (SemDeDup).

    Args:
        epsilon: 0 or more.
        width: of a vector.
    """

    def __init__(self, epsilon: float, width: int) -> None:
        self._epsilon = epsilon
        self._numbers = np.zeros(0, np.int64)
        self._rows = np.zeros((0, width), np.float32)
        self._filled = 0

    def first(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `greedy.Kept`; values are [b, D] float32."""
        found = np.full(len(values), -1, np.int64)
        distance = np.zeros(len(values))
        for start in range(0, self._filled, _AT_ONCE):
            left = np.flatnonzero(found < 0)
            rows = self._rows[start : min(start + _AT_ONCE, self._filled)]
            cosine = values[left] @ rows.T  # [left, rows]
            near = cosine > 1 - self._epsilon
            place = near.argmax(1)
            hit = near.any(1)
            found[left[hit]] = self._numbers[start + place[hit]]
            distance[left[hit]] = 1 - cosine[hit, place[hit]]
        return found, distance

    def within(self, values: np.ndarray) -> np.ndarray:
        """As `greedy.Kept`."""
        cosine = (values @ values.T).astype(np.float64)
        return np.where(cosine > 1 - self._epsilon, 1 - cosine, np.inf)

    def add(self, numbers: np.ndarray, values: np.ndarray) -> None:
        """As `greedy.Kept`."""
        size = self._filled + len(numbers)
        if size > len(self._numbers):
            room = max(size, 2 * len(self._numbers)) - self._filled
            self._numbers = np.concatenate([self._numbers[: self._filled], np.zeros(room, int)])
            blank = np.zeros((room, values.shape[1]), np.float32)
            self._rows = np.concatenate([self._rows[: self._filled], blank])
        self._numbers[self._filled : size] = numbers
        self._rows[self._filled : size] = values
        self._filled = size
