"""Pictures inside a parquet: a column of bytes, or of Hugging Face's {bytes, path}."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_tools.building.collection import FileReader, Picture

_ROWS = 16  # of pictures that are held at a time


@dataclass(frozen=True)
class Held:
    """What a row says of its picture."""

    size: int | None  # bytes; None where the row has none
    path: str | None


def embeds_pictures(path: Path, column: str) -> bool:
    """Whether a table is a parquet whose column holds bytes."""
    if path.suffix.lower() != ".parquet":
        return False
    try:
        schema = pq.read_schema(path)
    except pa.ArrowException:
        return False  # reading its rows says what is wrong with it
    return schema.names.count(column) == 1 and _bytes_name(schema.field(column)) is not None


def embedded_pictures(path: Path, column: str) -> Iterator[Held]:
    """What each row of a parquet holds; the whole column is read once for it."""
    file = pq.ParquetFile(path)
    for batch in file.iter_batches(batch_size=_ROWS, columns=[column]):
        values = batch.column(0)
        paths = [None] * len(values)
        if pa.types.is_struct(values.type):
            if values.type.get_field_index("path") >= 0:
                paths = pc.struct_field(values, "path").to_pylist()
            values = pc.struct_field(values, "bytes")
        for size, name in zip(pc.binary_length(values).to_pylist(), paths, strict=True):
            yield Held(size, name)


@dataclass
class TableReader:
    """Pictures whose `location` is a parquet and a row, the others as files.

    Rows are read in order with little held in memory; going back begins a row group again.
    """

    column: str
    folder: Path
    _open: "_Rows | None" = field(default=None, compare=False, repr=False)

    def read(self, picture: Picture) -> bytes:
        if picture.location is None:
            return FileReader(folder=self.folder).read(picture)
        path, row, _ = picture.location
        if self._open is None or not self._open.reaches(path, row):
            self._open = _Rows(path, self.column, row)
        data = self._open.read(row)
        if data is None:
            raise OSError("the row holds no picture")
        return data

    def size(self, picture: Picture) -> int:
        if picture.location is None:
            return FileReader(folder=self.folder).size(picture)
        return picture.location[2]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": None}


class _Rows:
    """The rows of a parquet's column from the row group of one row on."""

    def __init__(self, path: str, column: str, row: int) -> None:
        self._path = path
        file = pq.ParquetFile(path)
        self._next, group = 0, 0
        while row >= self._next + file.metadata.row_group(group).num_rows:
            self._next += file.metadata.row_group(group).num_rows
            group += 1
        groups = range(group, file.metadata.num_row_groups)
        self._end_of_group = self._next + file.metadata.row_group(group).num_rows
        self._batches = file.iter_batches(batch_size=_ROWS, row_groups=groups, columns=[column])
        self._held: Any = None  # an array of rows before `_next`

    def reaches(self, path: str, row: int) -> bool:
        """Whether a row is still to come, and not so far ahead that a new start is shorter."""
        first = self._next - (0 if self._held is None else len(self._held))
        return path == self._path and first <= row < max(self._end_of_group, self._next)

    def read(self, row: int) -> bytes | None:
        while row >= self._next:
            values = next(self._batches).column(0)
            is_struct = pa.types.is_struct(values.type)
            self._held = pc.struct_field(values, "bytes") if is_struct else values
            self._next += len(values)
        data: bytes | None = self._held[row - self._next + len(self._held)].as_py()
        return data


def _bytes_name(column: pa.Field) -> str | None:
    """The name of the field that holds the bytes, '' for the column itself."""
    if _is_bytes(column.type):
        return ""
    if pa.types.is_struct(column.type):
        place = column.type.get_field_index("bytes")
        if place >= 0 and _is_bytes(column.type.field(place).type):
            return "bytes"
    return None


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
