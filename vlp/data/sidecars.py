"""What was added to samples later: `annotations/NAME/SHARD.parquet`, joined by key and caption.

A row belongs to a sample only if both the key and the sha256 of the source caption agree; another
row's content is never used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vlp.data.index import sidecar_path

REWRITES, NEGATIVES, COUNTS, NEIGHBOURS, TEACHER = (
    "rewrites",
    "negatives",
    "counts",
    "neighbours",
    "teacher",
)
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    REWRITES: ("texts",),
    NEGATIVES: ("texts", "kinds"),
    COUNTS: ("count", "noun"),
    NEIGHBOURS: ("shards", "keys"),
    TEACHER: ("image", "text"),
}


def kind_of(name: str) -> str:
    """The kind of a sidecar: several of one kind are told apart by a suffix, `rewrites-bard`.

    Raises:
        ValueError: the name begins with no kind.
    """
    kind = name.partition("-")[0]
    if kind not in _COLUMNS:
        raise ValueError(
            f"sidecar {name!r}: choices are {', '.join(_COLUMNS)}, each also with a suffix "
            f"('{REWRITES}-NAME')"
        )
    return kind


def check_sidecar(key: str, name: str, shards: Sequence[str]) -> None:
    """Find out before anything runs that a sidecar of all shards is there and holds something.

    Args:
        key: of the configuration, for messages.

    Raises:
        FileNotFoundError: a shard has no such sidecar.
        ValueError: it lacks columns, or has no row for any shard.
    """
    rows = 0
    for shard in shards:
        path = sidecar_path(shard, name)
        if not path.is_file():
            raise FileNotFoundError(f"{key}: {path} is missing")
        found = pq.read_metadata(path)
        lacking = {"key", "src_sha256", *_COLUMNS[kind_of(name)]} - set(
            found.schema.to_arrow_schema().names
        )
        if lacking:
            raise ValueError(f"{key}: {path} lacks the columns {sorted(lacking)}")
        rows += found.num_rows
    if not rows:
        raise ValueError(f"{key}: {name} has no row for any sample of {len(shards)} shards")


def stored_width(name: str, shards: Sequence[str]) -> int:
    """The width of the embeddings in a teacher sidecar, from its first row."""
    for shard in shards:
        table = pq.read_table(sidecar_path(shard, name), columns=["image"])
        if len(table):
            return len(table["image"][0])
    raise ValueError(f"{name}: no row in {len(shards)} shards")


@dataclass(frozen=True)
class Count:
    """How many of what a caption tells. `counterfactual` is the caption with another number."""

    number: int
    noun: str
    counterfactual: str | None


@dataclass(frozen=True)
class Annotations:
    """What the sidecars of a source say of one sample."""

    rewrites: Sequence[tuple[str, str]] = ()  # (sidecar, text)
    negatives: Sequence[tuple[str, str]] = ()  # (kind, text)
    count: Count | None = None
    neighbours: Sequence[tuple[str, str]] = ()  # (shard's stem, key)
    # (image [D], texts [own captions, D]) by sidecar
    teachers: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None
    missing: tuple[str, ...] = ()  # sidecars that ought to have a row for every sample and lack one


class Sidecars:
    """The sidecars of one shard, in memory.

    Args:
        shard: path of the tar.
        names: which sidecars.
    """

    def __init__(self, shard: str, names: Sequence[str]) -> None:
        self._tables = {name: _Table(sidecar_path(shard, name), name) for name in names}

    def of(self, key: str, src_sha256: str) -> Annotations:
        """Everything about one sample."""
        rewrites: list[tuple[str, str]] = []
        found: dict[str, Any] = {"rewrites": rewrites, "teachers": {}}
        missing = []
        for name, table in self._tables.items():
            kind, row = kind_of(name), table.row(key, src_sha256)
            if row is None:
                if kind != COUNTS:  # most samples count nothing
                    missing.append(name)
                continue
            if kind == REWRITES:
                rewrites += [(name, text) for text in row["texts"] or [] if text]
            elif kind == NEGATIVES:
                pairs = zip(row["kinds"] or [], row["texts"] or [], strict=True)
                found["negatives"] = [(k, text) for k, text in pairs if text]
            elif kind == COUNTS:
                found["count"] = Count(row["count"], row["noun"] or "", row.get("counterfactual"))
            elif kind == NEIGHBOURS:
                found["neighbours"] = list(zip(row["shards"], row["keys"], strict=True))
            else:
                arrays = (np.asarray(row[side], np.float32) for side in ("image", "text"))
                found["teachers"][name] = tuple(arrays)
        return Annotations(**found, missing=tuple(missing))


class _Table:
    def __init__(self, path: Path, name: str) -> None:
        self._table: pa.Table = pq.read_table(path)
        keys, digests = (self._table[c].to_pylist() for c in ("key", "src_sha256"))
        self._rows = {pair: i for i, pair in enumerate(zip(keys, digests, strict=True))}

    def row(self, key: str, src_sha256: str) -> dict[str, Any] | None:
        place = self._rows.get((key, src_sha256))
        if place is None:
            return None
        row: dict[str, Any] = self._table.slice(place, 1).to_pylist()[0]
        return row
