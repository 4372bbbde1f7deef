"""Tables as rows: CSV, TSV, JSON Lines and parquet, each error with its file and line."""

import csv
import json
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.errors import InputError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Row:
    """One row of a table and where it stands, for messages."""

    place: str
    values: dict[str, Any]


def read_rows(path: Path, named: Container[str | None] = ()) -> Iterator[Row]:
    """Every row of a table, by the suffix of its name.

    Args:
        named: columns that are read whatever they hold; others of binary data are left out.

    Raises:
        InputError: not UTF-8, a repeated column, a row of another length, no table at all.
    """
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return _jsonl(path)
    if suffix == ".parquet":
        return _parquet(path, named)
    return _separated(path, "\t" if suffix == ".tsv" else ",")


def _lines(path: Path) -> Iterator[str]:
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}, line {number}: not UTF-8 (byte 0x{raw[error.start]:02x} at position "
                    f"{error.start + 1}); convert the file to UTF-8"
                ) from None


def _separated(path: Path, delimiter: str) -> Iterator[Row]:
    # Many TSV files are written without any quoting, and there a quote sign is only a character.
    quoted = delimiter == "," or _is_quoted(path)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(_lines(path), delimiter=delimiter, quoting=quoting, strict=True)
    try:
        header = next(reader, None)
        if not header:
            raise InputError(f"{path}: empty; expected a first line with the names of the columns")
        _check_names(path, header)
        for values in reader:
            place = f"{path}, line {reader.line_num}"
            if not values:
                continue
            if len(values) != len(header):
                raise InputError(
                    f"{place}: {len(values)} fields, but the header has {len(header)} "
                    f"({', '.join(header)})"
                )
            yield Row(place, dict(zip(header, values, strict=True)))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None


def _is_quoted(path: Path) -> bool:
    """Whether a TSV reads as a quoted table.

    A field that holds a line break or a tab may as well be two stray quote signs: it counts only
    where every row then has the header's length, and without quoting they have not.
    """
    lengths: set[int] = set()
    swallowed = False
    try:
        for row in csv.reader(_lines(path), delimiter="\t", strict=True):
            lengths |= {len(row)} if row else set()
            swallowed |= any("\n" in field or "\t" in field for field in row)
    except csv.Error:
        return False
    unquoted = {line.count("\t") for line in _lines(path) if line.strip()} if swallowed else set()
    return not swallowed or (len(lengths) == 1 and len(unquoted) > 1)


def _check_names(path: Path, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"{path}: the column {name!r} appears {names.count(name)} times; "
                f"the columns are: {', '.join(names)}"
            )


def _jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            values = json.loads(line, object_pairs_hook=_unique)
        except ValueError as error:
            raise InputError(f"{place}: not JSON ({error})") from None
        except RecursionError:
            raise InputError(f"{place}: JSON that is nested too deeply") from None
        if not isinstance(values, dict):
            raise InputError(f"{place}: expected a JSON object, got {type(values).__name__}")
        yield Row(place, values)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} appears twice")
    return values


def _parquet(path: Path, named: Container[str | None]) -> Iterator[Row]:
    number = 0
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        _check_names(path, schema.names)
        binary = [f.name for f in schema if f.name not in named and _holds_bytes(f.type)]
        if binary:
            print(f"{path}: columns of binary data are left out: {', '.join(binary)}", flush=True)
        kept = [name for name in schema.names if name not in binary]
        for batch in file.iter_batches(columns=kept if binary else None):
            for values in _without_nanoseconds(batch).to_pylist():
                number += 1
                yield Row(f"{path}, row {number}", values)
    except InputError:
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
