"""A small language model of captions: trigrams with interpolated Kneser-Ney smoothing, in numpy.

Chen & Goodman (1999), section 2.7, with one absolute discount for all orders.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_DISCOUNT = 0.75
_UNKNOWN, _FIRST = 1, 2  # ids of words; 0 stands before the first and behind the last one
_MOST_WORDS = 1 << 20  # three of them fit in a key


class Vocabulary:
    """Ids of the words of some sentences; all further words have one in common.

    The commonest words have one where there are too many for the keys of `Trigrams`.
    """

    def __init__(self, sentences: Iterable[Sequence[str]]) -> None:
        seen = Counter(word for sentence in sentences for word in sentence)
        common = [word for word, _ in seen.most_common(_MOST_WORDS - _FIRST)]
        self._ids = {word: _FIRST + place for place, word in enumerate(common)}

    def __len__(self) -> int:
        return _FIRST + len(self._ids)

    def coded(self, sentence: Sequence[str]) -> Ints:
        """Ids of the words, [n]."""
        return np.array([self._ids.get(word, _UNKNOWN) for word in sentence], np.int64)


@dataclass(frozen=True)
class _Table:
    """n-grams by key with their counts, and of each context the total and how many kinds."""

    keys: Ints
    counts: Floats
    contexts: Ints
    totals: Floats
    types: Floats

    @classmethod
    def of(cls, keys: Ints, counts: Floats, size: int) -> "_Table":
        contexts, place = np.unique(keys // size, return_inverse=True)
        totals = np.bincount(place, counts).astype(np.float64)
        return cls(keys, counts, contexts, totals, np.bincount(place).astype(np.float64))

    def smoothed(self, keys: Ints, size: int, lower: Floats) -> Floats:
        """P(last word | the words before it), [n]; `lower` [n] with one word less before it."""
        count = _found(self.keys, self.counts, keys)
        contexts = keys // size
        total = _found(self.contexts, self.totals, contexts)
        types = _found(self.contexts, self.types, contexts)
        with np.errstate(invalid="ignore", divide="ignore"):
            own = np.maximum(count - _DISCOUNT, 0) / total + _DISCOUNT * types / total * lower
        return np.where(total > 0, own, lower)


class Trigrams:
    """P(word | two words before it), trained on sentences.

    Args:
        sentences: ids of words, one sentence or more.
        size: number of ids.
    """

    def __init__(self, sentences: Sequence[Ints], size: int) -> None:
        self._size = size
        keys = _trigrams(sentences, size)[0]
        three, counts = np.unique(keys, return_counts=True)
        self._three = _Table.of(three, counts.astype(np.float64), size)
        # of lower orders it counts after how many different words they come
        two, counts = np.unique(three % (size * size), return_counts=True)
        self._two = _Table.of(two, counts.astype(np.float64), size)
        one, counts = np.unique(two % size, return_counts=True)
        self._one = _Table.of(one, counts.astype(np.float64), size)

    def log_likelihood(self, sentences: Sequence[Ints]) -> Floats:
        """log P per word and end of each sentence, [n]."""
        keys, rows = _trigrams(sentences, self._size)
        size = self._size
        uniform = np.full(len(keys), 1.0 / size)
        probability = self._one.smoothed(keys % size, size, uniform)
        probability = self._two.smoothed(keys % (size * size), size, probability)
        probability = self._three.smoothed(keys, size, probability)
        sums = np.bincount(rows, np.log(probability), len(sentences))
        return sums / np.bincount(rows, minlength=len(sentences))


def _trigrams(sentences: Sequence[Ints], size: int) -> tuple[Ints, Ints]:
    """Keys of all trigrams, and the sentence of each; a sentence ends with a pad."""
    lengths = np.array([len(sentence) + 1 for sentence in sentences], np.int64)
    width = int(lengths.sum()) + 2 * len(sentences)
    padded = np.zeros(width, np.int64)
    starts = np.cumsum(lengths + 2) - lengths  # behind two pads each
    for start, sentence in zip(starts, sentences, strict=True):
        padded[start : start + len(sentence)] = sentence
    rows = np.repeat(np.arange(len(sentences)), lengths)
    places = np.arange(len(rows)) + 2 * (rows + 1)
    keys = (padded[places - 2] * size + padded[places - 1]) * size + padded[places]
    return keys, rows


def _found(keys: Ints, values: Floats, wanted: Ints) -> Floats:
    """The values of sorted keys, 0 where one is not there."""
    if not len(keys):
        return np.zeros(len(wanted))
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0.0)
