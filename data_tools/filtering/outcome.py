"""What is written besides the sidecar: every dropped sample, and lists of what is kept."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_tools.annotate import read_sidecar
from data_tools.engine import Options, Run
from data_tools.samples import read_samples
from vlp.data.leftovers import replace_tidily
from vlp.errors import InputError

_LEDGER = pa.schema(
    [(name, pa.string()) for name in ("shard", "key", "src_sha256", "rule", "value")]
)
_KEYS = pa.schema([("shard", pa.string()), ("key", pa.string())])
_Writer = Callable[[Path, Iterator[pa.Table], pa.Schema], int]
_UID = np.dtype("u8,u8")  # halves of 128 bits, the first the higher


@dataclass(frozen=True)
class Outputs:
    """Files that are written once every shard has its sidecar."""

    ledger: Path | None
    ids: Path | None

    def check(self, shards: Sequence[Path]) -> None:
        """Raises InputError for a file of another kind, or if samples have no uid."""
        _check_suffix("--ledger", self.ledger, (".jsonl", ".parquet"))
        _check_suffix("--ids", self.ids, (".npy", ".txt", ".parquet"))
        if self.ids is not None and self.ids.suffix == ".npy":
            check_uids(shards[0])

    def write(self, shards: Sequence[Path], name: str, options: Options) -> None:
        """Write them and say so."""
        if self.ledger is not None:
            print(f"{self.ledger}: {write_ledger(self.ledger, shards, name):,} dropped samples")
        if self.ids is not None:
            print(f"{self.ids}: {write_ids(self.ids, shards, name, options)}")


def _check_suffix(option: str, path: Path | None, suffixes: Sequence[str]) -> None:
    if path is not None and path.suffix not in suffixes:
        raise InputError(f"{option} {path}: expected a name that ends in {', '.join(suffixes)}")


def write_ledger(path: Path, shards: Sequence[Path], name: str) -> int:
    """Write every dropped sample with shard, key, rule and value (.jsonl or .parquet).

    Returns how many there are.
    """
    tables = (_dropped(shard, name) for shard in shards)
    return _counted(
        path, tables, _write_parquet if path.suffix == ".parquet" else _write_rows, _LEDGER
    )


def write_ids(path: Path, shards: Sequence[Path], name: str, options: Options) -> str:
    """Write the kept samples: DataComp's sorted uids (.npy), or keys (.txt, .parquet).

    Returns what was written, for people.

    Raises:
        InputError: for .npy, a sample has no uid.
    """
    if path.suffix != ".npy":
        tables = (_kept_keys(shard, name) for shard in shards)
        writer = _write_parquet if path.suffix == ".parquet" else _write_keys
        return f"{_counted(path, tables, writer, _KEYS):,} keys"
    run: Run[Path, np.ndarray] = Run(partial(_uids, name), shards, options, what="uids")
    found = np.concatenate([np.zeros(0, _UID), *run.results()])
    run.finish()
    unique = np.unique(found)

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.save(file, unique)

    replace_tidily(path, write)
    repeated = len(found) - len(unique)
    return f"{len(unique):,} uids" + (f" ({repeated:,} came twice)" if repeated else "")


def uid_of(record: bytes, place: str) -> tuple[int, int]:
    """The two halves of the `uid` in a sample's JSON, 32 hexadecimal digits.

    Raises:
        InputError: it has none.
    """
    try:
        uid = json.loads(record)["uid"]
        if len(uid) != 32:
            raise ValueError
        return int(uid[:16], 16), int(uid[16:], 16)
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{place}: no `uid` of 32 hexadecimal digits in its .json, which DataComp's lists "
            "(.npy) are made of; --ids with a name in .txt or .parquet gives keys"
        ) from None


def check_uids(shard: Path) -> None:
    """Raises InputError if the first sample of a shard has no uid."""
    for sample in read_samples(shard, ("json",)):
        uid_of(sample.members.get("json", b"{}"), f"{shard}: sample {sample.key!r}")
        return


def _uids(name: str, shard: Path) -> np.ndarray:
    keys = set(_kept_keys(shard, name)["key"].to_pylist())
    found = [
        uid_of(sample.members.get("json", b"{}"), f"{shard}: sample {sample.key!r}")
        for sample in read_samples(shard, ("json",))
        if sample.key in keys
    ]
    return np.array(found, _UID)


def _dropped(shard: Path, name: str) -> pa.Table:
    table = read_sidecar(shard, name)
    return _with_shard(table.filter(pc.invert(table["keep"])), shard).select(_LEDGER.names)


def _kept_keys(shard: Path, name: str) -> pa.Table:
    table = read_sidecar(shard, name)
    return _with_shard(table.filter(table["keep"]), shard).select(_KEYS.names)


def _with_shard(table: pa.Table, shard: Path) -> pa.Table:
    return table.append_column("shard", pa.array([str(shard)] * len(table), pa.string()))


def _counted(path: Path, tables: Iterator[pa.Table], write: _Writer, schema: pa.Schema) -> int:
    """Write a file atomically, and return the number of its rows."""
    rows: list[int] = []
    replace_tidily(path, lambda temporary: rows.append(write(temporary, tables, schema)))
    return rows[0]


def _write_parquet(path: Path, tables: Iterator[pa.Table], schema: pa.Schema) -> int:
    rows = 0
    with pq.ParquetWriter(path, schema) as writer:
        for table in tables:
            rows += len(table)
            writer.write_table(table.cast(schema))
    return rows


def _write_rows(path: Path, tables: Iterator[pa.Table], _: pa.Schema) -> int:
    rows = (row for table in tables for row in table.to_pylist())
    return _write_lines(path, (json.dumps(row, ensure_ascii=False) for row in rows))


def _write_keys(path: Path, tables: Iterator[pa.Table], _: pa.Schema) -> int:
    return _write_lines(path, (_line(row) for table in tables for row in table.to_pylist()))


def _line(row: Mapping[str, str]) -> str:
    """A key as the line of a list; whoever reads lists takes off the spaces around it."""
    key = row["key"]
    if "\n" in key or key != key.strip():
        raise InputError(
            f"{row['shard']}: the key {key!r} cannot be a line of a .txt; --ids with a name in "
            ".parquet holds any key"
        )
    return key


def _write_lines(path: Path, lines: Iterator[str]) -> int:
    rows = 0
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(line + "\n")
            rows += 1
    return rows
