"""Output shards written from the places of their samples, several at a time.

A shuffled shard has samples of nearly every input. So the indexes, sidecars and tables of the
inputs are read once for a group of shards, and not for each; pictures are read one by one.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.building.shard_writer import Sample
from data_tools.destination import LocalFolder
from data_tools.manifest import Mark
from data_tools.resharding.layout import Places
from data_tools.resharding.rows import Carrying, Rows, read_rows_of
from vlp.data.files import write_json
from vlp.data.index import sidecar_path, write_index
from vlp.data.leftovers import remove_leftovers, replace_tidily
from vlp.data.tar import DamagedShardError, write_tar

_OPEN_TARS = 128


@dataclass(frozen=True, kw_only=True)
class OutputShard:
    """A shard to be written."""

    folder: LocalFolder
    number: int
    places: Places
    settings_sha256: str
    input_sha256: str

    @property
    def stem(self) -> str:
        return f"{self.number:05d}"

    @property
    def name(self) -> str:
        return f"{self.stem}.tar"

    @property
    def mark_name(self) -> str:
        """The commit mark."""
        return f"{self.stem}_stats.json"

    @property
    def files(self) -> tuple[str, ...]:
        """What a data folder has of every shard, in the order of writing."""
        return self.name, f"annotations/index/{self.stem}.parquet", self.table_name, self.mark_name

    @property
    def table_name(self) -> str:
        return f"{self.stem}.parquet"

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}"


@dataclass(frozen=True)
class Group:
    """Shards that one worker writes, one after another."""

    shards: tuple[OutputShard, ...]

    def __str__(self) -> str:
        first, last = self.shards[0], self.shards[-1]
        return str(first) if len(self.shards) == 1 else f"{first} to {last.name}"


def write_group(carrying: Carrying, group: Group) -> list[Mark]:
    """Write the shards of a group; each one's mark makes it a finished one.

    Raises:
        DamagedShardError: an input has changed.
        OSError: it cannot be read, or an output cannot be written.
    """
    wanted = np.unique(np.concatenate([shard.places for shard in group.shards]))
    rows = read_rows_of(carrying, wanted)
    with _Tars(carrying.shards) as tars:
        return [_write_shard(carrying, rows, tars, shard) for shard in group.shards]


def _write_shard(
    carrying: Carrying, rows: Rows, tars: "_Tars", output: OutputShard
) -> dict[str, Any]:
    path = output.folder.path / output.name
    output.folder.remove(output.mark_name)  # from here on the shard is not what its mark says
    index = rows.index(output.places)
    keys = index["key"].to_pylist()
    if carrying.rekey:
        keys = [f"{output.stem}{place:04d}" for place in range(len(keys))]
    sha256 = replace_tidily(path, lambda file: write_tar(file, _samples(keys, index, tars)))
    write_index(path)
    table, has_row = rows.table(output.places, keys)
    _write_parquet(path.with_suffix(".parquet"), table)
    mark: dict[str, Any] = {
        "count": len(keys),
        "successes": len(keys),
        "status_dict": {"success": len(keys)},
        "member_bytes": _member_bytes(path),
        "table_rows": has_row,
        "sidecars": _write_sidecars(rows, output, keys),
        "settings_sha256": output.settings_sha256,
        "input_sha256": output.input_sha256,
        "bytes": path.stat().st_size,
        "sha256": sha256,
    }
    remove_leftovers(path.with_name(output.mark_name))
    write_json(path.with_name(output.mark_name), mark)
    return mark


def _write_sidecars(
    rows: Rows, output: OutputShard, keys: Sequence[str]
) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for name in rows.sidecars:
        table, counts[name] = rows.sidecar(name, output.places, keys)
        _write_parquet(sidecar_path(output.folder.path / output.name, name), table)
    return counts


def _write_parquet(path: Path, table: pa.Table) -> None:
    replace_tidily(path, lambda file: pq.write_table(table, file))


def _member_bytes(shard: Path) -> int:
    sizes = pq.read_table(sidecar_path(shard, "index"), columns=["size"])["size"].to_pylist()
    return sum(map(sum, sizes))


def _samples(keys: Sequence[str], index: pa.Table, tars: "_Tars") -> Iterator[Sample]:
    columns = [index[name].to_pylist() for name in ("input", "ext", "offset", "size")]
    for key, number, extensions, offsets, sizes in zip(keys, *columns, strict=True):
        yield key, tars.read(number, extensions, offsets, sizes)


class _Tars:
    """The inputs, of which a bounded number is open."""

    def __init__(self, shards: Sequence[Path]) -> None:
        self._shards = shards
        self._open: OrderedDict[int, int] = OrderedDict()  # number -> file

    def __enter__(self) -> "_Tars":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open.values():
            os.close(file)

    def read(
        self, number: int, extensions: Sequence[str], offsets: Sequence[int], sizes: Sequence[int]
    ) -> Mapping[str, bytes]:
        """The members of a sample, which lie together, by one read."""
        begin = min(offsets)
        end = max(offset + size for offset, size in zip(offsets, sizes, strict=True))
        data = os.pread(self._file(number), end - begin, begin)
        if len(data) < end - begin:
            raise DamagedShardError(
                f"{self._shards[number]}: ends at byte {begin + len(data)}, before {end}"
            )
        parts = zip(extensions, offsets, sizes, strict=True)
        return {name: data[start - begin : start - begin + size] for name, start, size in parts}

    def _file(self, number: int) -> int:
        if number not in self._open:
            self._open[number] = os.open(self._shards[number], os.O_RDONLY)
            if len(self._open) > _OPEN_TARS:
                os.close(self._open.popitem(last=False)[1])
        self._open.move_to_end(number)
        return self._open[number]
