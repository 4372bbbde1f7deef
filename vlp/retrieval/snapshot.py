"""One state of an index, memory-mapped: it stays what it is while others change the index."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlp.errors import InputError
from vlp.retrieval.manifest import Manifest, Segment, read_manifest

SEGMENTS = "segments"
ID = "id"
_BLOCK = 1 << 16  # rows that a search looks at in one go

Vectors = NDArray[np.float16]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


class UnknownIdError(InputError):
    """An id that the index does not hold."""


class Snapshot:
    """The rows of an index in the order of their ids, removed ones included until compaction.

    Args:
        folder: of the index.
        manifest: the state.

    Raises:
        InputError: a file is damaged, or not of the length that the manifest tells.
        FileNotFoundError: a file is gone, since the state is an old one.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._parts = [_Part(folder, segment, manifest.dim) for segment in manifest.segments]
        self._starts = np.cumsum([0, *(segment.rows for segment in manifest.segments)])
        ids = [part.ids for part in self._parts]
        self.ids: Rows = np.concatenate(ids) if ids else np.empty(0, np.int64)
        if (np.diff(self.ids) <= 0).any():
            raise InputError(f"{folder}: the ids of its segments do not ascend: it is damaged")
        self.live: Mask = np.ones(len(self.ids), np.bool_)
        if manifest.removed is not None:
            shape = (manifest.removed_rows,)
            removed = _mapped(folder / manifest.removed, shape, "i8")
            self.live[self._places(removed)] = False

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.manifest.dim

    def blocks(self) -> Iterator[tuple[int, Vectors]]:
        """(first row, vectors [m, D]) of all rows; memory-mapped, a block at a time."""
        for start, part in zip(self._starts, self._parts, strict=False):
            for at in range(0, len(part.ids), _BLOCK):
                yield int(start) + at, part.vectors[at : at + _BLOCK]

    def vectors(self, rows: Sequence[int] | Rows) -> NDArray[np.float32]:
        """[m, D] of some rows, as they are stored, in float32."""
        rows = np.asarray(rows, np.int64)
        found = np.empty((len(rows), self.dim), np.float32)
        for places, part, own in self._split(rows):
            found[places] = part.vectors[own]
        return found

    def hubness(self, rows: Sequence[int] | Rows) -> NDArray[np.float32]:
        """[m]: mean of the largest cosines of a row with the background."""
        rows = np.asarray(rows, np.int64)
        found = np.empty(len(rows), np.float32)
        for places, part, own in self._split(rows):
            found[places] = part.hubness[own]
        return found

    def rows_of(self, ids: Sequence[int] | Rows) -> Rows:
        """The rows of live ids.

        Raises:
            UnknownIdError: one is not in the index, or no longer.
        """
        ids = np.asarray(ids, np.int64)
        rows = np.searchsorted(self.ids, ids)
        known = rows < len(self.ids)
        known[known] = (self.ids[rows[known]] == ids[known]) & self.live[rows[known]]
        if not known.all():
            first = int(ids[~known][0])
            raise UnknownIdError(f"id {first} is not in the index ({self.folder})")
        found: Rows = rows
        return found

    @cached_property
    def columns(self) -> dict[str, pa.DataType]:
        """Names and types of the metadata, that of the id included."""
        if not self._parts:
            return {ID: pa.int64()}
        schema = pa.unify_schemas([part.table.schema for part in self._parts])
        return {field.name: field.type for field in schema}

    def table(self, rows: Sequence[int] | Rows, columns: Sequence[str] | None = None) -> pa.Table:
        """Metadata of some rows, in their order; a column that a segment lacks is null there."""
        rows = np.asarray(rows, np.int64)
        names = list(self.columns) if columns is None else list(columns)
        schema = pa.schema([(name, self.columns[name]) for name in names])
        pieces, order = [], []
        for places, part, own in self._split(rows):
            pieces.append(_with_all(part.select(names).take(own), schema))
            order.append(places)
        if not pieces:
            return schema.empty_table()
        joined = pa.concat_tables(pieces)
        back = np.argsort(np.concatenate(order), kind="stable")
        return joined.take(back) if len(pieces) > 1 else joined

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of all rows; not copied where the file holds it.

        Raises:
            KeyError: there is none of this name.
        """
        kind = self.columns[name]
        schema = pa.schema([(name, kind)])
        parts = [_with_all(part.select([name]), schema) for part in self._parts]
        return pa.concat_tables(parts).column(name) if parts else pa.chunked_array([], kind)

    def _split(self, rows: Rows) -> Iterator[tuple[NDArray[np.intp], "_Part", Rows]]:
        """(places in `rows`, segment, rows within it) for every segment that is touched."""
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"rows must be 0 to {len(self) - 1}, got {rows.min()} to {rows.max()}")
        which = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(which):
            places = np.flatnonzero(which == number)
            yield places, self._parts[number], rows[places] - self._starts[number]

    def _places(self, ids: Rows) -> Rows:
        places: Rows = np.searchsorted(self.ids, ids)
        if not np.isin(ids, self.ids).all():
            raise InputError(f"{self.folder}: its list of removed ids names rows that it lacks")
        return places


class _Part:
    """The files of one segment."""

    def __init__(self, folder: Path, segment: Segment, dim: int) -> None:
        stem = folder / SEGMENTS / segment.name
        self.vectors: Vectors = _mapped(Path(f"{stem}.vectors.npy"), (segment.rows, dim), "f2")
        self.hubness: NDArray[Any] = _mapped(Path(f"{stem}.hubness.npy"), (segment.rows,), "f4")
        path = Path(f"{stem}.metadata.arrow")
        whole = read_table(path)
        if whole.num_rows != segment.rows:
            raise InputError(f"{path} has {whole.num_rows} rows; the index says {segment.rows}")
        if ID not in whole.schema.names or whole.schema.field(ID).type != pa.int64():
            raise InputError(f"{path} has no column {ID!r} of integers")
        self.table = whole
        self.ids: Rows = whole.column(ID).to_numpy()

    def select(self, names: Sequence[str]) -> pa.Table:
        """Those columns that are here; the id in any case, since a table needs one to have rows."""
        return self.table.select([name for name in self.table.schema.names if name in (ID, *names)])


def read_table(path: Path) -> pa.Table:
    """A memory-mapped Arrow file.

    Raises:
        InputError: it is damaged.
        FileNotFoundError: it is gone.
    """
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, "No such file", str(path)) from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is damaged: {error}") from None


def _mapped(path: Path, shape: tuple[int, ...], kind: str) -> NDArray[Any]:
    try:
        # copy on write: torch wants arrays that could be written to
        array: NDArray[Any] = np.load(path, mmap_mode="c" if shape[0] else None, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{path} is damaged: {error}") from None
    if array.shape != shape or array.dtype != np.dtype(kind):
        raise InputError(f"{path} holds {array.dtype} {array.shape}; the index says {kind} {shape}")
    return array


def _with_all(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table.column(f.name) if f.name in table.schema.names else pa.nulls(len(table), f.type)
        for f in schema
    ]
    return pa.table(columns, schema=schema)


def open_snapshot(folder: Path) -> Snapshot:
    """The newest state of an index.

    Raises:
        InputError: the folder is no index, or it is damaged.
    """
    manifest = read_manifest(folder)
    while True:
        try:
            return Snapshot(folder, manifest)
        except FileNotFoundError as error:  # someone changed the index meanwhile, or a file is lost
            newer = read_manifest(folder)
            if newer == manifest:
                raise InputError(
                    f"{folder}: a file of the index is missing: {error.filename}"
                ) from error
            manifest = newer
