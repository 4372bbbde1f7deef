"""Tables of text as rows: CSV, TSV and JSON Lines, each error with its file and line."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

SUFFIXES = (".csv", ".tsv", ".jsonl")


class TableError(ValueError):
    """A table that cannot be read; the message names the file and the line."""


@dataclass(frozen=True)
class Row:
    """One row of a table and where it stands, for messages."""

    place: str
    values: dict[str, Any]


def read_rows(path: Path) -> Iterator[Row]:
    """Every row of a table, by the suffix of its name; blank lines are none.

    Raises:
        TableError: not UTF-8, a repeated column, a row of another length, a line that is no JSON.
    """
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return read_json_lines(path)
    return _separated(path, "\t" if suffix == ".tsv" else ",")


def read_json_lines(path: Path) -> Iterator[Row]:
    """Every object of a file with one a line, whatever its name.

    Raises:
        TableError: a line that is something else.
    """
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            values = json.loads(line, object_pairs_hook=_unique)
        except ValueError as error:
            raise TableError(f"{place}: not JSON ({error})") from None
        except RecursionError:
            raise TableError(f"{place}: JSON that is nested too deeply") from None
        if not isinstance(values, dict):
            raise TableError(f"{place}: expected a JSON object, got {type(values).__name__}")
        yield Row(place, values)


def check_names(path: Path, names: Sequence[str]) -> None:
    """Raises TableError for a column that comes twice."""
    for name in names:
        if names.count(name) > 1:
            raise TableError(
                f"{path}: the column {name!r} appears {names.count(name)} times; "
                f"the columns are: {', '.join(names)}"
            )


def _lines(path: Path) -> Iterator[str]:
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise TableError(
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
            raise TableError(f"{path}: empty; expected a first line with the names of the columns")
        check_names(path, header)
        for values in reader:
            place = f"{path}, line {reader.line_num}"
            if not values:
                continue
            if len(values) != len(header):
                raise TableError(
                    f"{place}: {len(values)} fields, but the header has {len(header)} "
                    f"({', '.join(header)})"
                )
            yield Row(place, dict(zip(header, values, strict=True)))
    except csv.Error as error:
        raise TableError(f"{path}, line {reader.line_num}: {error}") from None


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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} appears twice")
    return values
