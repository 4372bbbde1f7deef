"""The rows of inputs that belong to some samples: of indexes, sidecars and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_tools.resharding.found import conformed, joined
from data_tools.resharding.ids import Ids, is_among, key_ids
from data_tools.resharding.layout import Layout, Places
from data_tools.resharding.survey import Surveyed, table_rows
from data_tools.samples import open_index
from vlp.data.index import sidecar_path
from vlp.data.sidecars import NEIGHBOURS

_INDEX = ("key", "ext", "offset", "size")
_PLACE = "vlp_place"
_MIX = 0x9E3779B97F4A7C15  # odd, so that no two inputs are alike


@dataclass(frozen=True, kw_only=True)
class Carrying:
    """What a worker needs to know of the inputs, whatever it writes."""

    shards: Sequence[Path]
    starts: Places  # [inputs + 1]
    table: pa.Schema
    sidecars: Mapping[str, pa.Schema]
    size: int  # samples of an output shard
    rekey: bool
    targets: Path | None  # folder of `write_targets`, where a sidecar names other samples

    @cached_property
    def stems(self) -> dict[tuple[Path, str], int]:
        """The number of an input by its folder and its stem, by which neighbours name it."""
        return {(shard.parent, shard.stem): number for number, shard in enumerate(self.shards)}


@dataclass(frozen=True)
class Rows:
    """Rows of the samples of a group; [n] are their places, ascending."""

    carrying: Carrying
    wanted: Places  # [n]
    indexes: pa.Table  # [n]
    tables: pa.Table  # each with its sample's place in the column `_PLACE`
    sidecars: Mapping[str, pa.Table]

    def index(self, places: Places) -> pa.Table:
        """Where the members of samples lie, with the number of the input."""
        return self.indexes.take(np.searchsorted(self.wanted, places))

    def table(self, places: Places, keys: Sequence[str]) -> tuple[pa.Table, int]:
        """The row of each sample, under these keys, and how many of them the inputs had."""
        rows = pc.index_in(pa.array(places), value_set=self.tables[_PLACE])
        found = conformed(self.tables.take(rows), self.carrying.table)
        statuses = pc.fill_null(found["status"], "success")
        for name, values in (("status", statuses), ("key", pa.array(keys, pa.string()))):
            place, kind = found.schema.get_field_index(name), found.schema.field(name)
            found = found.set_column(place, kind, values.cast(kind.type))
        if self.carrying.rekey:
            name = self.carrying.table.names[-1]  # see `table_schema`
            old = self.index(places)["key"]
            found = found.set_column(len(found.schema) - 1, found.schema.field(name), old)
        return found, len(places) - rows.null_count

    def sidecar(
        self, name: str, places: Places, keys: Sequence[str]
    ) -> tuple[pa.Table, dict[str, int]]:
        """The rows of a sidecar, under these keys; and how many rows, and samples that have any."""
        table = self.sidecars[name]
        position = pc.index_in(table[_PLACE], value_set=pa.array(places))
        own = pc.indices_nonzero(pc.is_valid(position)).to_numpy()
        target = position.take(own).to_numpy()
        table = table.take(own[np.argsort(target, kind="stable")])
        target = np.sort(target)
        counts = {"rows": len(table), "samples": len(np.unique(target))}
        if is_neighbours(name, table.schema):
            table, kept, gone = self._renamed(table)
            counts |= {"references": kept, "references_dropped": gone}
        schema = self.carrying.sidecars[name]
        new_keys = pa.array([keys[place] for place in target.tolist()], pa.string())
        table = table.set_column(table.schema.get_field_index("key"), "key", new_keys)
        return conformed(table, schema), counts

    def _renamed(self, table: pa.Table) -> tuple[pa.Table, int, int]:
        """Neighbours by the names that they have now, without those that are not written."""
        places = table[_PLACE].to_pylist()
        shards, keys = table["shards"].to_pylist(), table["keys"].to_pylist()
        named = [
            (self._input_of(place, stem), key)
            for place, stems, own in zip(places, shards, keys, strict=True)
            for stem, key in zip(stems or (), own or (), strict=True)
        ]
        found = iter(self._targets(named))
        new_shards: list[list[str]] = []
        new_keys: list[list[str]] = []
        kept = 0
        for own in keys:
            there = [
                (key, place) for key, place in ((k, next(found)) for k in own or ()) if place >= 0
            ]
            kept += len(there)
            stems = [f"{place // self.carrying.size:05d}" for _, place in there]
            new_shards.append(stems)
            new_keys.append([self._key(key, place) for key, place in there])
        kind = pa.list_(pa.string())
        for name, values in (("shards", new_shards), ("keys", new_keys)):
            column = table.schema.get_field_index(name)
            table = table.set_column(column, name, pa.array(values, kind))
        return table, kept, len(named) - kept

    def _key(self, key: str, target: int) -> str:
        stem, place = divmod(target, self.carrying.size)
        return f"{stem:05d}{place:04d}" if self.carrying.rekey else key

    def _input_of(self, place: int, stem: str) -> int:
        """The input that a neighbour of a sample is in; -1 where that is no input."""
        number = int(np.searchsorted(self.carrying.starts, place, "right")) - 1
        folder = self.carrying.shards[number].parent
        return self.carrying.stems.get((folder, stem), -1)

    def _targets(self, named: Sequence[tuple[int, str]]) -> list[int]:
        """Where samples, by input and key, are in the output's order; -1 where they are not."""
        folder = self.carrying.targets
        if not named or folder is None:
            return [-1] * len(named)
        ids = _of_input(key_ids([key for _, key in named]), np.array([n for n, _ in named]))
        known: Ids = np.load(folder / "ids.npy", mmap_mode="r")
        targets = np.load(folder / "targets.npy", mmap_mode="r")
        found = is_among(ids, known)
        places = np.where(found, targets[np.searchsorted(known, ids) % len(known)], -1)
        return [int(place) for place in places]


def is_neighbours(name: str, schema: pa.Schema) -> bool:
    """Whether a sidecar names other samples by their shard and key."""
    return name.partition("-")[0] == NEIGHBOURS and {"shards", "keys"} <= set(schema.names)


def table_schema(schema: pa.Schema, rekey: bool) -> pa.Schema:
    """The schema of the table beside an output shard; the last column has the former keys."""
    for place, name in enumerate(("key", "status")):
        if name not in schema.names:
            schema = schema.insert(place, pa.field(name, pa.string()))
    if not rekey:
        return schema
    name, number = "source_key", 1
    while name in schema.names:
        number += 1
        name = f"source_key{number}"
    return schema.append(pa.field(name, pa.string()))


def write_targets(folder: Path, inputs: Sequence[Surveyed], layout: Layout) -> None:
    """Write where in the output every sample is, to be looked up by many workers."""
    targets = np.full(layout.starts[-1], -1)
    targets[layout.order] = np.arange(len(layout.order))
    numbers = np.repeat(np.arange(len(inputs)), np.diff(layout.starts))
    ids = _of_input(np.concatenate([one.keys for one in inputs]), numbers)
    order = np.argsort(ids)
    np.save(folder / "ids.npy", ids[order])
    np.save(folder / "targets.npy", targets[order])


def read_rows_of(carrying: Carrying, wanted: Places) -> Rows:
    """Read all that belongs to the samples at these places, which are ascending.

    Raises:
        DamagedShardError: an input has changed.
    """
    numbers = np.searchsorted(carrying.starts, wanted, "right") - 1
    indexes: list[pa.Table] = []
    tables: list[pa.Table] = []
    sidecars: dict[str, list[pa.Table]] = {name: [] for name in carrying.sidecars}
    for number in np.unique(numbers).tolist():
        shard, start = carrying.shards[number], int(carrying.starts[number])
        index = open_index(shard).table
        rows = wanted[numbers == number] - start
        found = index.take(rows).select(_INDEX).replace_schema_metadata(None)
        indexes.append(found.append_column("input", pa.array([number] * len(rows), pa.int64())))
        tables.append(_table(shard, index, rows, start))
        for name, kept in sidecars.items():
            kept.append(_sidecar(shard, name, index, rows, start, carrying.sidecars[name]))
    return Rows(
        carrying,
        wanted,
        pa.concat_tables(indexes),
        pa.concat_tables(tables, promote_options="permissive"),
        {name: pa.concat_tables(kept) for name, kept in sidecars.items()},
    )


def _table(shard: Path, index: pa.Table, rows: Places, start: int) -> pa.Table:
    """The rows of the table for samples at `rows` of the index."""
    samples, _ = table_rows(shard, index)
    has_row = samples[rows] >= 0
    places = pa.array(rows[has_row] + start, pa.int64())
    if not has_row.any():
        return pa.table({_PLACE: places})
    table = pq.read_table(shard.with_suffix(".parquet")).take(samples[rows][has_row])
    return table.replace_schema_metadata(None).append_column(_PLACE, places)


def _sidecar(
    shard: Path, name: str, index: pa.Table, rows: Places, start: int, schema: pa.Schema
) -> pa.Table:
    path = sidecar_path(shard, name)
    whole = pa.schema([*schema, pa.field(_PLACE, pa.int64())])
    if not path.is_file():
        return whole.empty_table()
    table = pq.read_table(path)
    samples = pc.fill_null(joined(table, index), -1).to_numpy()
    own = np.flatnonzero(np.isin(samples, rows))
    table = conformed(table.take(own), schema.remove_metadata())
    return table.append_column(_PLACE, pa.array(samples[own] + start, pa.int64()))


def _of_input(ids: Ids, numbers: Places) -> Ids:
    """The ids of keys, made different for each input, as two may count their samples alike."""
    mixed = ids.copy()
    mixed["f0"] ^= (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(_MIX)
    return mixed
