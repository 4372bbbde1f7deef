"""Rows of a parquet table, whose pictures are paths or bytes in it."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlp.data.tables import Row, check_names
from vlp.errors import InputError

_ROWS = 1000  # read at a time; fewer where pictures are among them
_PICTURES = 64


@dataclass(frozen=True, slots=True)
class Held:
    """A picture that lies in a table."""

    image_path: str
    size: int  # bytes
    mark: str


def parquet_rows(path: Path, image_column: Callable[[Sequence[str]], str]) -> Iterator[Row]:
    """Every row of a table; columns of other binary data are left out.

    Args:
        image_column: chooses the column of pictures by the names of all. Its values are paths, or
            `Held` where they are bytes, or records of `bytes` and `path` as `datasets` writes them.

    Raises:
        InputError: not readable.
        TableError: a column comes twice.
    """
    try:
        facts = os.stat(path)  # before: a table that is written anew meanwhile is read again
        place, time = path.absolute(), f"{facts.st_mtime_ns}:{facts.st_size}"
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            check_names(path, schema.names)
            column = image_column(schema.names)
            holds = _holds_bytes(schema.field(column).type)
            names = [f.name for f in schema if f.name == column or not _is_binary(f.type)]
            batches = file.iter_batches(_PICTURES if holds else _ROWS, columns=names)
            number = 0
            for batch in batches:
                rows = _plain(batch, column if holds else None).to_pylist()
                if holds:
                    pictures = _pictures(f"{place}/{column}", time, batch.column(column), number)
                    rows = [row | {column: own} for row, own in zip(rows, pictures, strict=True)]
                for row in rows:
                    yield Row(f"{path}, row {number}", row)
                    number += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as parquet ({error})") from None


def _pictures(place: str, time: str, cells: pa.Array, first: int) -> Iterator[Held | str | None]:
    """Of each cell the picture in it, or else the path that it names."""
    paths: list[str | None] = [None] * len(cells)
    if pa.types.is_struct(cells.type):
        if cells.type.get_field_index("path") >= 0:
            paths = pc.struct_field(cells, "path").to_pylist()
        cells = pc.struct_field(cells, "bytes")
    for row, size in enumerate(pc.binary_length(cells).to_pylist(), first):
        if size is None:
            yield paths[row - first]
            continue
        yield Held(f"{place}/{row}", size, f"{size}:{time}:{row}")


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _is_binary(kind.field(place).type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _plain(batch: pa.RecordBatch, without: str | None) -> pa.Table:
    """Without the column of pictures; times as texts, for Python's own have no nanoseconds."""
    table = pa.Table.from_batches([batch])
    if without is not None:
        table = table.drop_columns([without])
    for place, field in enumerate(table.schema):
        if pa.types.is_temporal(field.type):
            duration = pa.types.is_duration(field.type)
            kind = pa.int64() if duration else pa.string()
            table = table.set_column(place, field.name, table.column(place).cast(kind))
    return table
