"""Tables as rows: CSV, TSV, JSON Lines and parquet, each error with its file and line."""

import csv
import json
from collections.abc import Iterator, Sequence
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


def read_rows(path: Path) -> Iterator[Row]:
    """Every row of a table, by the suffix of its name.

    Raises:
        InputError: not UTF-8, a repeated column, a row of another length, no table at all.
    """
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return _jsonl(path)
    if suffix == ".parquet":
        return _parquet(path)
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
    """Whether a TSV reads as a quoted table in which no quoted field swallows a line or a tab."""
    try:
        rows = csv.reader(_lines(path), delimiter="\t", strict=True)
        return all("\n" not in field and "\t" not in field for row in rows for field in row)
    except csv.Error:
        return False


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


def _parquet(path: Path) -> Iterator[Row]:
    number = 0
    try:
        file = pq.ParquetFile(path)
        _check_names(path, file.schema_arrow.names)
        for batch in file.iter_batches():
            for values in batch.to_pylist():
                number += 1
                yield Row(f"{path}, row {number}", values)
    except pa.ArrowException as error:
        raise InputError(f"{path}: not readable as parquet ({error})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, after row {number}: text that is not UTF-8 ({error})") from None
