"""Which samples of a shard there are: what its `keep` sidecars leave of it.

A keep sidecar says of every sample whether it is kept. A sample of which it says nothing, or of
whose earlier caption it speaks, is neither kept nor dropped silently: it is an error.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vlp.data.index import sidecar_path

_JOINED_BY = ["key", "src_sha256"]


@dataclass(frozen=True)
class Kept:
    """The kept samples of one shard, one bit for each sample."""

    bits: NDArray[np.uint8]  # [ceil(total / 8)]
    total: int  # samples of the shard

    @classmethod
    def read(cls, shard: str, names: Sequence[str]) -> "Kept":
        """What every one of these sidecars keeps of an indexed shard.

        Raises: as `keep_column`.
        """
        kept = np.logical_and.reduce([keep_column(shard, name) for name in names])
        return cls(np.packbits(kept), len(kept))

    def __len__(self) -> int:
        return int(np.unpackbits(self.bits).sum())

    def rows(self) -> NDArray[np.int64]:
        """[kept] their rows in the index, ascending."""
        return np.flatnonzero(np.unpackbits(self.bits, count=self.total)).astype(np.int64)

    @property
    def sha256(self) -> str:
        """Which samples are kept, as hexadecimal."""
        return hashlib.sha256(self.bits.tobytes() + str(self.total).encode()).hexdigest()


def keep_column(shard: str | Path, name: str) -> NDArray[np.bool_]:
    """[samples] What one keep sidecar says of each sample, in the order of the shard's index.

    Raises:
        ValueError: a column is missing; a sample has no row, one of another caption, or several; or
            a row says neither true nor false.
    """
    path = sidecar_path(shard, name)
    try:
        index = pq.read_table(sidecar_path(shard, "index"), columns=_JOINED_BY, use_threads=False)
        there = pq.read_schema(path).names
        lacking = [name for name in (*_JOINED_BY, "keep") if name not in there]
        if lacking:
            raise ValueError(f"{path} lacks {', '.join(lacking)}: this is no keep sidecar")
        table = pq.read_table(path, columns=[*_JOINED_BY, "keep"], use_threads=False)
    except pa.ArrowException as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if table["keep"].type != pa.bool_() or table["keep"].null_count:
        raise ValueError(f"{path}: expected true or false in `keep` of every row")
    keep = table["keep"].to_numpy()
    if not all(table[column].equals(index[column]) for column in _JOINED_BY):
        keep = keep[_places(path, index, table)]
    return np.asarray(keep, bool)


def _places(path: Path, index: pa.Table, table: pa.Table) -> list[int]:
    """The row of each sample in a sidecar of another order."""
    pairs = _pairs(table)
    rows = {pair: row for row, pair in enumerate(pairs)}
    if len(rows) < len(pairs):
        raise ValueError(f"{path}: {len(pairs) - len(rows):,} samples have more than one row")
    keys = {key for key, _ in pairs}
    wanted = _pairs(index)
    stale = sum(pair not in rows and pair[0] in keys for pair in wanted)
    missing = sum(pair[0] not in keys for pair in wanted)
    if stale or missing:
        raise ValueError(
            f"{path}: of {len(wanted):,} samples of the shard {missing:,} have no row and "
            f"{stale:,} one of another caption; run the command again that wrote it"
        )
    return [rows[pair] for pair in wanted]


def _pairs(table: pa.Table) -> list[tuple[str, str]]:
    return list(zip(*(table[column].to_pylist() for column in _JOINED_BY), strict=True))
