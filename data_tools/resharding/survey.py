"""What one input shard holds: its samples, which of them are asked for, and what is known of them.

Everything is read from the index, the sidecars and the table; the tar itself only for uids.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_tools.filtering.outcome import uid_of
from data_tools.lots import lot
from data_tools.resharding.found import (
    check_member_names,
    joined,
    other_files,
    sidecars_of,
    table_of,
)
from data_tools.resharding.ids import ID, Ids, key_ids
from data_tools.samples import open_index, read_samples
from vlp.data.index import sidecar_path
from vlp.data.keep import keep_column
from vlp.errors import InputError

NO_SAMPLE = "no sample"  # the reason of a table's row that speaks of a sample which is not there


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What has to be known of every sample."""

    keep: tuple[str, ...] = ()  # sidecars
    seed: int | None = None  # for lots, where samples are shuffled
    needs_uids: bool = False
    keeps_keys: bool = True


@dataclass(frozen=True, kw_only=True)
class Surveyed:
    """One input shard of n samples."""

    keys: Ids  # [n]
    uids: Ids  # [n], or [0] where none are asked for
    lots: NDArray[np.float64]  # [n], or [0] where nothing is shuffled
    dropped_by: NDArray[np.int8]  # [n] which of the keep sidecars drops it first, -1 for none
    sizes: NDArray[np.int64]  # [n] bytes of its members
    table: pa.Schema | None
    table_rows: NDArray[np.int64]  # [n] 1 where the table has a row of it
    failures: Counter[str]  # further rows of the table, by their status
    sidecars: Mapping[str, pa.Schema]
    sidecar_rows: Mapping[str, NDArray[np.int64]]  # [n] rows that a sidecar has of each sample
    stale_rows: Mapping[str, int]  # rows of another caption, or of no sample
    other_files: tuple[Path, ...]  # beside the sidecars
    sha256: str  # of everything that was read


def survey(questions: Questions, shard: Path) -> Surveyed:
    """Read what the index, the sidecars and the table of a shard tell.

    Raises:
        InputError: no index, or a sidecar or a table that cannot be used.
        DamagedShardError: the shard is not the one that was indexed.
    """
    index = open_index(shard).table
    keys = index["key"].to_pylist()
    if questions.keeps_keys:
        check_member_names(shard, index)
    table, sidecars = table_of(shard), sidecars_of(shard)
    has_row, failures = table_rows(shard, index)
    rows, stale = _sidecar_rows(shard, index, list(sidecars))
    lots = _lots(questions.seed, keys, index) if questions.seed is not None else np.zeros(0)
    return Surveyed(
        keys=key_ids(keys),
        uids=_uids(shard) if questions.needs_uids else np.zeros(0, ID),
        lots=lots,
        dropped_by=_dropped_by(shard, len(keys), questions.keep),
        sizes=np.array([sum(sizes) for sizes in index["size"].to_pylist()], np.int64),
        table=table,
        table_rows=(has_row >= 0).astype(np.int64),
        failures=Counter(failures.values()),
        sidecars=sidecars,
        sidecar_rows=rows,
        stale_rows=stale,
        other_files=tuple(other_files(shard)),
        sha256=_sha256(shard, list(sidecars), table is not None),
    )


def table_rows(shard: Path, index: pa.Table) -> tuple[NDArray[np.int64], dict[int, str]]:
    """[n] The row of the table for each sample, -1 without one; and why others are of no sample."""
    found = np.full(len(index), -1)
    path = shard.with_suffix(".parquet")
    if not path.is_file():
        return found, {}
    has_status = "status" in pq.read_schema(path).names
    table = pq.read_table(path, columns=["key", "status"] if has_status else ["key"])
    rows = joined(table, index, ["key"]).to_pylist()
    statuses = table["status"].to_pylist() if has_status else ["success"] * len(table)
    others: dict[int, str] = {}
    for row, (sample, status) in enumerate(zip(rows, statuses, strict=True)):
        if sample is not None and found[sample] < 0 and status in ("success", None):
            found[sample] = row
        else:
            others[row] = NO_SAMPLE if status in ("success", None) else str(status)
    return found, others


def _dropped_by(shard: Path, samples: int, names: Sequence[str]) -> NDArray[np.int8]:
    dropped = np.full(samples, -1, np.int8)
    for place, name in enumerate(names):
        if not sidecar_path(shard, name).is_file():
            raise InputError(f"--keep {name}: {sidecar_path(shard, name)} is missing")
        try:
            keep = keep_column(shard, name)
        except (ValueError, KeyError) as error:
            raise InputError(f"--keep {name}: {error}") from None
        dropped[~keep & (dropped < 0)] = place
    return dropped


def _lots(seed: int, keys: Sequence[str], index: pa.Table) -> NDArray[np.float64]:
    # by caption also, so that samples of two sets that count alike are not put side by side
    pairs = zip(keys, index["src_sha256"].to_pylist(), strict=True)
    return np.array([lot(seed, *pair) for pair in pairs], np.float64)


def _uids(shard: Path) -> Ids:
    found = [
        uid_of(sample.members.get("json", b"{}"), f"{shard}: sample {sample.key!r}")
        for sample in read_samples(shard, ("json",))
    ]
    return np.array(found, ID)


def _sidecar_rows(
    shard: Path, index: pa.Table, names: Sequence[str]
) -> tuple[dict[str, NDArray[np.int64]], dict[str, int]]:
    rows: dict[str, NDArray[np.int64]] = {}
    stale: dict[str, int] = {}
    for name in names:
        table = pq.read_table(sidecar_path(shard, name), columns=["key", "src_sha256"])
        samples = joined(table, index)
        stale[name] = samples.null_count
        rows[name] = np.bincount(pc.drop_null(samples).to_numpy(), minlength=len(index))
    return rows, stale


def _sha256(shard: Path, sidecars: Sequence[str], has_table: bool) -> str:
    paths = {name: sidecar_path(shard, name) for name in ("index", *sidecars)}
    paths |= {"": shard.with_suffix(".parquet")} if has_table else {}
    digest = hashlib.sha256(f"{shard.stat().st_size}".encode())
    for name, path in paths.items():
        digest.update(f"\n{name}\n".encode())
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
