"""The search for near pictures: by hashes in memory, or by embeddings, cluster by cluster."""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Protocol

import numpy as np

from data_tools.deduplication.clusters import (
    assign,
    default_clusters,
    place_centroids,
    sample_size,
)
from data_tools.deduplication.cosine import KeptEmbeddings
from data_tools.deduplication.embeddings import Embeddings
from data_tools.deduplication.greedy import Kept, equal_ones, greedy
from data_tools.deduplication.hamming import KeptHashes
from data_tools.deduplication.pool import Pool
from data_tools.deduplication.references import References, read_references
from data_tools.deduplication.signatures import By
from data_tools.engine import Options
from vlp.data.index import sidecar_path

_AT_ONCE = 1024  # samples that are compared with the evaluation sets at a time
Near = tuple[np.ndarray, np.ndarray]  # keeper, -1 for none, and the distance to it


class Search(Protocol):
    """One measure of nearness over a pool. Keepers and distances are by position, [N]."""

    @property
    def there(self) -> np.ndarray:
        """Which samples can be compared, [N]."""

    def references(self, places: Sequence[str]) -> References:
        """The pictures of evaluation sets."""

    def contaminated(self, references: References) -> Near:
        """The first reference near each sample."""

    def duplicates(self, order: np.ndarray) -> Near:
        """The keepers among positions in canonical order."""


@dataclass(frozen=True, kw_only=True)
class HashSearch:
    """By signatures, which were read.

    Args:
        limit: bits in which near signatures may differ; 0 for equal ones.
        readable: which samples have a signature, [N].
        signatures: of these, [M, words] uint64.
        options: of the run that reads evaluation sets.
    """

    by: By
    limit: int
    readable: np.ndarray
    signatures: np.ndarray
    options: Options

    @property
    def there(self) -> np.ndarray:
        return self.readable

    def references(self, places: Sequence[str]) -> References:
        return read_references(places, self.by, self.options)

    def contaminated(self, references: References) -> Near:
        found, distance = near_hashes(self.signatures, references.values, self.limit)
        return self._placed(np.flatnonzero(self.readable), found, distance)

    def duplicates(self, order: np.ndarray) -> Near:
        place = np.cumsum(self.readable) - 1  # of a position among the signatures
        found, distance = hash_duplicates(self.signatures[place[order]], self.limit)
        return self._placed(order, np.where(found >= 0, order[found], -1), distance)

    def _placed(self, positions: np.ndarray, found: np.ndarray, distance: np.ndarray) -> Near:
        keepers, distances = _nobody(len(self.readable))
        keepers[positions], distances[positions] = found, distance
        return keepers, distances


def hash_duplicates(values: np.ndarray, limit: int) -> Near:
    """Keepers among signatures [n, words] in canonical order.

    Args:
        limit: bits in which they may differ; 0 for equal signatures, of any width.
    """
    first = equal_ones(values)
    alone = np.flatnonzero(first == np.arange(len(values)))  # of equal ones the first
    keeper = np.where(first == np.arange(len(values)), -1, first)
    distance = np.zeros(len(values))
    if limit and len(alone):
        own, bits = greedy(values[alone, 0], KeptHashes(limit))
        keeper[alone] = np.where(own >= 0, alone[own], -1)
        distance[alone] = bits
        # what is equal to one that goes, goes with it
        behind = np.flatnonzero((keeper >= 0) & (first != np.arange(len(values))))
        gone = behind[keeper[first[behind]] >= 0]
        keeper[gone], distance[gone] = keeper[first[gone]], distance[first[gone]]
    return keeper, distance


def near_hashes(values: np.ndarray, references: np.ndarray, limit: int) -> Near:
    """The first reference [m, words] near each signature [n, words]."""
    if limit:
        kept = KeptHashes(limit)
        kept.add(np.arange(len(references)), references[:, 0])
        return _search(values[:, 0], kept)
    first = equal_ones(np.concatenate([references, values]))[len(references) :]
    return np.where(first < len(references), first, -1), np.zeros(len(values))


def _search(values: np.ndarray, kept: Kept) -> Near:
    parts = [kept.first(values[s : s + _AT_ONCE]) for s in range(0, len(values), _AT_ONCE)]
    parts.append((np.zeros(0, np.int64), np.zeros(0)))
    return np.concatenate([p for p, _ in parts]), np.concatenate([d for _, d in parts])


def _nobody(count: int) -> Near:
    return np.full(count, -1, np.int64), np.zeros(count)


@dataclass(kw_only=True)
class SemanticSearch:
    """SemDeDup (Abbas et al. 2023): embeddings are read shard by shard, compared within clusters.

    Other than there, the canonical order says which of two near pictures stays, and not which is
    farther from the centroid, so that the choice does not depend on the clusters.
    """

    pool: Pool
    embeddings: Embeddings
    epsilon: float
    clusters: int | None  # None for as many as suit the number of samples
    seed: int

    def __post_init__(self) -> None:
        digests = []
        for shard in self.pool.shards:
            self.embeddings.of(shard)
            with open(sidecar_path(shard, self.embeddings.name), "rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").digest())
        self.pool.note("embeddings", *digests)

    @cached_property
    def there(self) -> np.ndarray:
        found = np.zeros(len(self.pool), bool)
        for positions, _ in self._blocks():
            found[positions] = True
        return found

    def references(self, places: Sequence[str]) -> References:
        return self.embeddings.references(places, self.pool.shards[0])

    def contaminated(self, references: References) -> Near:
        keepers, distances = _nobody(len(self.pool))
        kept = KeptEmbeddings(self.epsilon, references.values.shape[1])
        kept.add(np.arange(len(references.values)), references.values)
        for positions, values in self._blocks():
            keepers[positions], distances[positions] = _search(values, kept)
        return keepers, distances

    def duplicates(self, order: np.ndarray) -> Near:
        keeper, distance = _nobody(len(self.pool))
        if not len(order):
            return keeper, distance
        labels = self._labels(order)
        rank = np.empty(len(self.pool), np.int64)
        rank[order] = np.arange(len(order))
        by_cluster = order[np.argsort(labels[order], kind="stable")]
        with tempfile.TemporaryFile(prefix="vlp-dedup-") as file:  # goes when the process goes
            rows = self._sorted(by_cluster, file)
            edges = np.flatnonzero(np.diff(labels[by_cluster])) + 1
            for begin, end in zip([0, *edges], [*edges, len(order)], strict=True):
                members = by_cluster[begin:end]
                values = np.array(rows[begin:end])
                own, far = greedy(values, KeptEmbeddings(self.epsilon, values.shape[1]))
                keeper[members] = np.where(own >= 0, members[own], -1)
                distance[members] = far
        return keeper, distance

    def _labels(self, order: np.ndarray) -> np.ndarray:
        """The cluster of each position, [N]; of those not in `order` it means nothing."""
        clusters = self.clusters or default_clusters(len(order))
        clusters = min(clusters, len(order))
        labels = np.zeros(len(self.pool), np.int32)
        if clusters > 1:
            centroids = place_centroids(self._drawn(order, clusters), clusters, self.seed)
            for positions, values in self._blocks():
                labels[positions] = assign(values, centroids)
        return labels

    def _drawn(self, order: np.ndarray, clusters: int) -> np.ndarray:
        """Embeddings to place the centroids by, in the order of positions."""
        draw = np.random.default_rng([self.seed, len(order)])
        wanted = np.zeros(len(self.pool), bool)
        count = min(len(order), sample_size(clusters))
        wanted[np.sort(order)[draw.choice(len(order), count, replace=False)]] = True
        return np.concatenate([values[wanted[positions]] for positions, values in self._blocks()])

    def _sorted(self, by_cluster: np.ndarray, file: IO[bytes]) -> np.ndarray:
        """The embeddings in this order of positions, in a file."""
        slot = np.full(len(self.pool), -1, np.int64)
        slot[by_cluster] = np.arange(len(by_cluster))
        rows = None
        for positions, values in self._blocks():
            if rows is None:
                rows = np.memmap(file, np.float32, "w+", shape=(len(by_cluster), values.shape[1]))
            used = slot[positions] >= 0
            rows[slot[positions[used]]] = values[used]
        assert rows is not None
        return rows

    def _blocks(self) -> Iterator[Near]:
        """(positions, unit vectors) of each shard's samples that have one."""
        for number, shard in enumerate(self.pool.shards):
            found = self.embeddings.of(shard)
            if found.there.any():
                yield np.flatnonzero(found.there) + self.pool.starts[number], found.values
