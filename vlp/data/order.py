"""The order of the data, a pure function of (seed, position).

A source of n samples is an endless stream of epochs. In epoch e its shards are permuted by
(seed, e); the samples in that order are cut into windows, and each window is permuted by
(seed, e, window). Global batch k takes the next positions of every source; no state is kept but the
number k, so a run goes on anywhere at no cost, on any number of ranks and loader workers.

Permutations come from sorting raw Philox words, whose stream numpy guarantees never to change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

# what a random stream is for
SHARDS, WINDOW, MIXTURE, SUBSTITUTE, DRAW, TEXTS, NEIGHBOUR = range(7)


def philox(*key: int) -> np.random.Philox:
    """A counter-based generator keyed by non-negative integers."""
    return np.random.Philox(np.random.SeedSequence(key))


def permutation(length: int, *key: int) -> np.ndarray:
    """A permutation of range(length), [length] int64."""
    return np.argsort(philox(*key).random_raw(length), kind="stable")


@dataclass(frozen=True)
class Place:
    """A sample's place: which epoch of which source, and where in it."""

    source: int
    epoch: int
    shard: int
    row: int  # in the shard
    sample: int  # number of the sample in the data set, over all sources; the same in every epoch


class SourceOrder:
    """The stream of one source.

    Args:
        lengths: samples per shard.
        seed: non-negative.
        window: samples that are shuffled together; more mixes better, fewer reads more locally.
    """

    def __init__(self, lengths: Sequence[int], seed: int, window: int) -> None:
        self.starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.seed = seed
        self.window = window
        self._epoch = lru_cache(maxsize=2)(self._shards_of_epoch)
        self._window = lru_cache(maxsize=4)(self._permuted_window)

    def __reduce__(self) -> tuple[type["SourceOrder"], tuple[list[int], int, int]]:
        return SourceOrder, (np.diff(self.starts).tolist(), self.seed, self.window)

    def __len__(self) -> int:
        """Samples in an epoch."""
        return int(self.starts[-1])

    def locate(self, position: int) -> tuple[int, int, int]:
        """(epoch, shard, row) of a position in the stream."""
        epoch, within = divmod(position, len(self))
        window, offset = divmod(within, self.window)
        shards, ends = self._epoch(epoch)
        place = window * self.window + int(self._window(epoch, window)[offset])
        at = int(np.searchsorted(ends, place, side="right"))
        row = place - (int(ends[at - 1]) if at else 0)
        return epoch, int(shards[at]), row

    def substitute(self, epoch: int, sample: int, attempt: int) -> tuple[int, int]:
        """(shard, row) to read in place of an unreadable sample."""
        word = philox(self.seed, SUBSTITUTE, epoch, sample, attempt).random_raw()
        other = int(word % len(self))
        shard = int(np.searchsorted(self.starts, other, side="right")) - 1
        return shard, other - int(self.starts[shard])

    def _shards_of_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Shards in the epoch's order, and where each ends in it."""
        shards = permutation(len(self.starts) - 1, self.seed, SHARDS, epoch)
        return shards, np.cumsum(np.diff(self.starts)[shards])

    def _permuted_window(self, epoch: int, window: int) -> np.ndarray:
        length = min(self.window, len(self) - window * self.window)
        return permutation(length, self.seed, WINDOW, epoch, window)


class BatchOrder:
    """Which samples make up global batch k.

    Sources share the batches by weight: after k batches each has given its share of k·batch samples
    to within one per source before it, and where its share of a batch is a whole number, exactly
    that many in every batch.

    Args:
        lengths: samples per shard, by source.
        weights: share of each source, positive; only their ratios count.
        batch: samples in a global batch; even with `pairs`.
        seed: non-negative.
        window: see `SourceOrder`.
        pairs: rows 2i and 2i + 1 of a batch belong to one place of the stream: a sample, and a
            neighbour of it. A step then takes half as many places.
    """

    def __init__(
        self,
        lengths: Mapping[str, Sequence[int]],
        weights: Mapping[str, float],
        batch: int,
        seed: int,
        window: int,
        *,
        pairs: bool = False,
    ) -> None:
        if pairs and batch % 2:
            raise ValueError(f"data.hard_images needs an even batch, got {batch}")
        self.orders = [SourceOrder(shards, seed, window) for shards in lengths.values()]
        self.first_sample = np.cumsum([0, *(len(order) for order in self.orders)])
        self.rows_a_place = 2 if pairs else 1
        self.batch = batch // self.rows_a_place  # places
        self.seed = seed
        exact = [Fraction(str(weights[name])) for name in lengths]
        left = sum(exact)
        self._shares = []  # of what the sources before it left over
        for weight in exact:
            self._shares.append(weight / left)
            left -= weight

    def places(self, k: int, start: int, stop: int) -> list[Place]:
        """Rows start to stop of global batch k; a rank asks for its contiguous slice.

        Of a neighbour's row it is the place of the sample that it is near.
        """
        slots = self._slots(k)
        rows = (slots[row // self.rows_a_place] for row in range(start, stop))
        return [self.at(source, *self.orders[source].locate(position)) for source, position in rows]

    def is_neighbour(self, row: int) -> bool:
        """Whether a row holds a neighbour of the sample at `place`."""
        return row % self.rows_a_place == 1

    def substitute(self, place: Place, attempt: int) -> Place:
        """The sample read in place of an unreadable one, from the same source."""
        order = self.orders[place.source]
        shard, row = order.substitute(place.epoch, place.sample, attempt)
        return self.at(place.source, place.epoch, shard, row)

    def at(self, source: int, epoch: int, shard: int, row: int) -> Place:
        """The place of a sample that is given by shard and row."""
        start = self.first_sample[source] + self.orders[source].starts[shard]
        return Place(source, epoch, shard, row, int(start) + row)

    def _slots(self, k: int) -> list[tuple[int, int]]:
        """(source, position in its stream) of every row of batch k."""
        begin, end = self._given(k), self._given(k + 1)
        slots = [(s, p) for s in range(len(begin)) for p in range(begin[s], end[s])]
        if len(begin) == 1:
            return slots
        mixed = permutation(len(slots), self.seed, MIXTURE, k)  # each rank gets of every source
        return [slots[i] for i in mixed]

    def _given(self, k: int) -> list[int]:
        """Samples that each source has given before batch k.

        Each source takes its share of what those before it left, rounded down on the running total:
        the totals never decrease, so no batch asks a source for fewer than zero.
        """
        left, given = k * self.batch, []
        for share in self._shares:
            given.append(int(left * share))
            left -= given[-1]
        return given
