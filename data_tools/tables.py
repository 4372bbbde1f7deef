"""Tables as rows: CSV, TSV, JSON Lines and parquet, each error with its file and line."""

from collections.abc import Container, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vlp.data import tables
from vlp.data.tables import Row, TableError, check_names
from vlp.errors import InputError

SUFFIXES = (*tables.SUFFIXES, ".parquet")


def read_rows(
    path: Path, named: Container[str | None] = (), without: str | None = None
) -> Iterator[Row]:
    """Every row of a table, by the suffix of its name.

    Args:
        named: columns that are read whatever they hold; others of binary data are left out.
        without: a column of a parquet that is left out without a word.

    Raises:
        InputError: not UTF-8, a repeated column, a row of another length, no table at all.
    """
    parquet = path.suffix.lower() == ".parquet"
    try:
        yield from _parquet(path, named, without) if parquet else tables.read_rows(path)
    except TableError as error:
        raise InputError(str(error)) from None


def _parquet(path: Path, named: Container[str | None], without: str | None) -> Iterator[Row]:
    number = 0
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        check_names(path, schema.names)
        fields = [field for field in schema if field.name != without]
        binary = [f.name for f in fields if f.name not in named and _holds_bytes(f.type)]
        if binary:
            print(f"{path}: columns of binary data are left out: {', '.join(binary)}", flush=True)
        kept = [field.name for field in fields if field.name not in binary]
        for batch in file.iter_batches(columns=None if kept == schema.names else kept):
            for values in _without_nanoseconds(batch).to_pylist():
                number += 1
                yield Row(f"{path}, row {number}", values)
    except TableError:
        raise
    except pa.ArrowException as error:
        raise InputError(f"{path}: not readable as parquet ({error})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, after row {number}: text that is not UTF-8 ({error})") from None
    except ValueError as error:
        raise InputError(f"{path}, after row {number}: {error}") from None


def _holds_bytes(kind: pa.DataType) -> bool:
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    if any(matches(kind) for matches in binary):
        return True
    if pa.types.is_map(kind):
        inner = [kind.key_type, kind.item_type]
    elif pa.types.is_struct(kind):
        inner = [field.type for field in kind]
    else:
        inner = [kind.value_type] if hasattr(kind, "value_type") else []
    return any(map(_holds_bytes, inner))


def _without_nanoseconds(batch: pa.RecordBatch) -> pa.Table:
    """Times in nanoseconds as texts, as Python's own have microseconds; durations as numbers."""
    table = pa.Table.from_batches([batch])
    for place, field in enumerate(table.schema):
        if pa.types.is_temporal(field.type) and getattr(field.type, "unit", "") == "ns":
            kind = pa.int64() if pa.types.is_duration(field.type) else pa.string()
            table = table.set_column(place, field.name, table.column(place).cast(kind))
    return table
