"""All samples of a run as one row of numbers, and the order in which they are preferred."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_tools.annotate import read_sidecar
from data_tools.deduplication.signatures import vectors
from data_tools.samples import open_index
from vlp.errors import InputError

_JOINED_BY = ["key", "src_sha256"]


@dataclass(frozen=True)
class Pool:
    """Samples by position: shard after shard, each in its order."""

    shards: Sequence[Path]
    starts: np.ndarray  # [shards + 1], of each shard's first position
    read: dict[str, str] = field(default_factory=dict)  # sha256 of all that was read, by what it is

    @classmethod
    def of(cls, shards: Sequence[Path]) -> "Pool":
        """Raises InputError for a shard without index."""
        return cls(shards, np.cumsum([0, *(len(open_index(shard)) for shard in shards)]))

    def __len__(self) -> int:
        return int(self.starts[-1])

    def note(self, what: str, *parts: bytes) -> None:
        """Remember what was read to judge by; with other content the verdicts are others."""
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        self.read[what] = digest.hexdigest()

    def span(self, shard: int) -> slice:
        """The positions of a shard's samples."""
        return slice(int(self.starts[shard]), int(self.starts[shard + 1]))

    def place(self, position: int) -> tuple[int, int]:
        """(shard, row) of a position."""
        shard = int(np.searchsorted(self.starts, position, "right")) - 1
        return shard, position - int(self.starts[shard])

    def signatures(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Which samples have a signature, [N], and these, [M, words] uint64."""
        found = [vectors(read_sidecar(shard, name)["signature"]) for shard in self.shards]
        there = np.concatenate([one.there for one in found])
        values = np.concatenate([one.values for one in found if len(one.values)] or [_nothing()])
        self.note("pictures", there.tobytes(), values.tobytes())
        return there, values

    def scores(self, name: str) -> np.ndarray:
        """`clip_score` of every sample, [N] float32, NaN without one.

        Raises:
            InputError: there is no such sidecar or column, or a shard's is stale.
        """
        scores = np.full(len(self), np.nan, np.float32)
        for number, shard in enumerate(self.shards):
            table = read_sidecar(shard, name)
            if "clip_score" not in table.column_names:
                raise InputError(
                    f"--prefer {name}: no column clip_score in its sidecar of {shard}; the "
                    f"columns are {', '.join(table.column_names)}"
                )
            if not table.select(_JOINED_BY).equals(open_index(shard).table.select(_JOINED_BY)):
                raise InputError(f"--prefer {name}: its sidecar of {shard} is of other samples")
            column = table["clip_score"].cast(pa.float32()).fill_null(float("nan"))
            scores[self.span(number)] = column.to_numpy()
        self.note("prefer", scores.tobytes())
        return scores

    def with_captions(self, name: str, wanted: Mapping[int, str]) -> "Repeated":
        """The samples with one of these captions (hash -> name), by a sidecar of hashes."""
        known, place = np.unique(np.array(list(wanted), np.uint64), return_index=True)
        keepers = np.full(len(self), -1, np.int64)
        for number, shard in enumerate(self.shards):
            lists = read_sidecar(shard, name)["captions"].combine_chunks()
            rows = np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy())
            values = lists.flatten().to_numpy()
            hit = np.isin(values, known)
            row, first = np.unique(rows[hit], return_index=True)
            found = np.searchsorted(known, values[hit][first])
            keepers[self.starts[number] + row] = place[found]
        self.note("captions", known.tobytes(), keepers.tobytes())
        return Repeated(keepers, list(wanted.values()))


@dataclass(frozen=True)
class Repeated:
    """For each sample the number of a caption that it repeats, [N], -1 for none; their names."""

    keepers: np.ndarray
    names: Sequence[str]


def canonical_order(positions: np.ndarray, scores: np.ndarray | None) -> np.ndarray:
    """Positions in the order of preference: the best score first, none last, then the position."""
    if scores is None:
        return positions
    worth = -np.nan_to_num(scores[positions], nan=-np.inf, neginf=-np.inf)
    order: np.ndarray = positions[np.lexsort((positions, worth))]
    return order


def _nothing() -> np.ndarray:
    return np.zeros((0, 1), np.uint64)
