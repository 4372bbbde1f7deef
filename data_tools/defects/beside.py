"""Files beside a shard that speak of it: index, statistics, table, sizes and manifest."""

import json
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.building.shard_writer import stats_path
from data_tools.defects.adapted_table import is_comparable
from data_tools.defects.grouping import Part
from data_tools.defects.names import Problem
from data_tools.defects.samples import Checks
from vlp.data.files import file_sha256
from vlp.data.index import caption_sha256, sidecar_path

_UNREADABLE = (OSError, ValueError, pa.ArrowException)


@dataclass
class Tally:
    """What a walk saw of a shard, for comparison: places of members and hashes of captions."""

    keys: Collection[str] = ()
    total: int = 0  # bytes of the file
    is_damaged: bool = False
    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    captions: dict[str, bytes] = field(default_factory=dict)  # key -> sha256

    def add(self, part: Part) -> None:
        """A member of a sample."""
        self.offsets.append(part.entry.data)
        self.sizes.append(part.entry.size)

    def caption(self, key: str, data: bytes) -> None:
        """The `.txt` of a sample."""
        self.captions.setdefault(key, bytes.fromhex(caption_sha256(data)))

    def close(self, keys: Collection[str], size: int, is_damaged: bool) -> "Tally":
        """With all keys, in the order of the tar, and the bytes of the file."""
        self.keys, self.total, self.is_damaged = keys, size, is_damaged
        return self


def check_beside(shard: Path, tally: Tally, checks: Checks) -> Iterator[Problem]:
    """What files beside the shard say otherwise; those that are not there say nothing."""
    reads = checks.reaches("members")
    for path, code, check in (
        (sidecar_path(shard, "index"), "INDEX_STALE", _check_index),
        (stats_path(shard), "STATS_MISMATCH", _check_stats),
        (shard.with_suffix(".parquet"), "PARQUET_MISMATCH", _check_table),
        (shard.parent / "sizes.json", "SIZES_MISMATCH", _check_sizes),
        (shard.parent / "manifest.json", "MANIFEST_MISMATCH", _check_manifest),
    ):
        if not path.exists():
            continue
        try:
            told = check(path, shard, tally, reads)
        except _UNREADABLE as error:
            told = f"cannot be read: {error}"
        if told:
            yield Problem(code, f"{path.name}: {told}")


def _check_index(path: Path, shard: Path, tally: Tally, reads: bool) -> str:
    table = pq.read_table(path)
    indexed = int((table.schema.metadata or {}).get(b"vlp_shard_bytes", b"-1"))
    if indexed != tally.total:
        return f"made of a tar of {indexed:,} bytes; this one has {tally.total:,}"
    if tally.is_damaged:
        return "made before the tar was damaged"
    keys = table["key"].to_pylist()
    if keys != list(tally.keys):
        return f"its {len(keys):,} keys are not the {len(tally.keys):,} of the tar"
    for column, there in (("offset", tally.offsets), ("size", tally.sizes)):
        told = table[column].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        if not np.array_equal(told, np.asarray(there)):
            return f"a member's {column} is another"
    if reads:
        told = table["src_sha256"].to_pylist()
        for key, digest in zip(keys, told, strict=True):
            if digest != tally.captions.get(key, b"").hex():
                return f"the caption of {key!r} is another"
    return ""


def _check_stats(path: Path, shard: Path, tally: Tally, reads: bool) -> str:
    stats = _read_object(path)
    told = {"count": stats.get("successes"), **{n: stats.get(n) for n in ("bytes", "sha256")}}
    return _differs(told, shard, tally, reads)


def _check_manifest(path: Path, shard: Path, tally: Tally, reads: bool) -> str:
    manifest = _read_object(path)
    shards = manifest.get("shards")
    if "contract" not in manifest or not isinstance(shards, dict):
        return ""  # of another tool, or of a build that is not finished
    told = shards.get(shard.name)
    return _differs(told, shard, tally, reads) if isinstance(told, dict) else "does not name it"


def _differs(told: dict[str, Any], shard: Path, tally: Tally, reads: bool) -> str:
    actual: dict[str, Any] = {"count": len(tally.keys), "bytes": tally.total}
    if reads and told.get("sha256") is not None:
        actual["sha256"] = file_sha256(shard)
    wrong = [
        f"{name} {told[name]}, but the tar has {value}"
        for name, value in actual.items()
        if told.get(name) is not None and told[name] != value
    ]
    return "; ".join(wrong)


def _check_table(path: Path, shard: Path, tally: Tally, reads: bool) -> str:
    if not is_comparable(pq.read_schema(path)):
        return ""  # another table than img2dataset's
    table = pq.read_table(path, columns=["key", "status"])
    rows = zip(table["key"].to_pylist(), table["status"].to_pylist(), strict=True)
    written = {str(key) for key, status in rows if status == "success"}
    there = set(tally.keys)
    wrong = []
    if lost := sorted(written - there):
        wrong.append(f"{len(lost):,} keys of it are not in the tar, the first is {lost[0]}")
    if more := sorted(there - written):
        wrong.append(f"{len(more):,} keys of the tar are not in it, the first is {more[0]}")
    return "; ".join(wrong)


def _check_sizes(path: Path, shard: Path, tally: Tally, reads: bool) -> str:
    sizes = _read_object(path)
    if shard.name not in sizes:
        return "does not name it"
    told = sizes[shard.name]
    there = len(tally.keys)
    return "" if told == there else f"says {told} samples, but the tar has {there}"


def missing_shards(folder: Path) -> Iterator[tuple[str, str]]:
    """(shard, file) of the shards that a folder's files name and that are not in it."""
    for name in ("sizes.json", "manifest.json"):
        try:
            told = _read_object(folder / name)
        except _UNREADABLE:
            continue
        shards = told if name == "sizes.json" else told.get("shards", {})
        for shard in shards if isinstance(shards, dict) else {}:
            # a name out of a file may lead anywhere; only those of this folder are looked up
            if "/" not in shard and "\0" not in shard and not (folder / shard).exists():
                yield shard, name


def _read_object(path: Path) -> dict[str, Any]:
    """Once for all shards of a folder, as long as the file stays as it is."""
    state = path.stat()
    return _parsed(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _parsed(path: Path, _changed: int, _size: int) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {type(value).__name__}")
    return value
