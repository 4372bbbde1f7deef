"""Recognises what an input is (a table, a folder with captions, class folders) and reads it."""

import math
import os
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.collection import Collection, FileReader, Picture, with_captions
from data_tools.errors import InputError
from data_tools.folders import read_folder
from data_tools.progress import watched
from data_tools.tables import SUFFIXES, read_rows
from vlp.data.files import is_text
from vlp.data.tables import Row

UNASSIGNED = "unassigned"  # the split of rows whose split value is empty
_RESERVED_FOLDERS = ("annotations", "classification")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a table that have a meaning."""

    image: str = "image"
    caption: str = "caption"
    split: str | None = None

    def __post_init__(self) -> None:
        named: dict[str, str] = {}
        for field, column in vars(self).items():
            if column is not None and column in named:
                raise InputError(f"--{field}-column {column}: is --{named[column]}-column already")
            named[column] = field


def read_input(path: Path, columns: Columns, templates: tuple[str, ...]) -> Collection:
    """Every picture of an input with its captions.

    Args:
        templates: captions of class folders, with `{c}` for the class name.

    Raises:
        InputError: nothing is there, or it is nothing that can be built from.
    """
    try:
        return _read(path, columns, templates)
    except OSError as error:
        raise InputError(f"--input {error.filename or path}: {error.strerror or error}") from None


def _read(path: Path, columns: Columns, templates: tuple[str, ...]) -> Collection:
    if path.is_dir():
        return read_folder(path, templates)
    if not path.exists():
        raise InputError(f"--input {path}: no such file or folder")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"--input {path}: a file with the suffix {path.suffix or '(none)'!r}; expected a table "
            f"({', '.join(SUFFIXES)}), a folder of pictures with .txt captions, or a folder of "
            "class folders"
        )
    return _read_table(path, columns)


@dataclass
class _Gathered:
    """The rows of one picture, collected."""

    source: str
    split: str
    place: str
    captions: list[str]
    extras: list[dict[str, Any]]


def _read_table(path: Path, columns: Columns) -> Collection:
    pictures: dict[str, _Gathered] = {}  # by the path itself: a file has many spellings
    folder = path.parent.resolve()
    rows = 0
    for row in watched(read_rows(path, set(vars(columns).values())), "reading the table", "rows"):
        rows += 1
        gathered = _read_row(row, columns)
        known = pictures.setdefault(os.path.normpath(folder / gathered.source), gathered)
        if known is not gathered:
            _add(known, gathered)
    if not pictures:
        raise InputError(f"{path}: no rows")
    splits: dict[str, list[Picture]] = {}
    for gathered in pictures.values():
        picture = Picture(source=gathered.source, extra=_merge(gathered.extras))
        splits.setdefault(gathered.split, []).append(with_captions(picture, gathered.captions))
    kind = f"table {path}: {rows:,} rows, {len(pictures):,} pictures"
    return Collection(kind=kind, splits=splits, reader=FileReader(folder=folder))


def _read_row(row: Row, columns: Columns) -> _Gathered:
    values = dict(row.values)
    source = _take(values, columns.image, "--image-column", row)
    if not isinstance(source, str) or not source.strip():
        shown = reprlib.repr(source)
        raise InputError(f"{row.place}: column {columns.image!r} holds {shown}, not a path")
    captions = _texts(_take(values, columns.caption, "--caption-column", row), columns, row)
    split = ""
    if columns.split is not None:
        split = _split_name(_take(values, columns.split, "--split-column", row), columns, row)
    try:
        extra = {name: _plain(value) for name, value in values.items()}
    except RecursionError:
        raise InputError(f"{row.place}: a value is nested too deeply") from None
    return _Gathered(source, split, row.place, captions, [extra])


def _add(known: _Gathered, other: _Gathered) -> None:
    if known.split != other.split:
        raise InputError(
            f"{other.place}: {other.source} is in split {other.split!r}, but {known.place} puts it "
            f"in {known.split!r}; a picture belongs to one split"
        )
    known.captions.extend(other.captions)
    known.extras.extend(other.extras)


def _take(values: dict[str, Any], column: str, option: str, row: Row) -> object:
    if column not in values:
        raise InputError(
            f"{row.place}: no column {column!r} ({option}); "
            f"the columns are: {', '.join(row.values) or 'none'}"
        )
    return values.pop(column)


def _texts(value: object, columns: Columns, row: Row) -> list[str]:
    texts = []
    for text in value if isinstance(value, list) else [value]:
        if text is not None and not isinstance(text, str):
            raise InputError(
                f"{row.place}: column {columns.caption!r} holds {reprlib.repr(text)} "
                f"({type(text).__name__}); expected a text or a list of texts"
            )
        texts.append(text or "")
    return texts


def _split_name(value: object, columns: Columns, row: Row) -> str:
    if not isinstance(value, str | int | float | None):
        shown = reprlib.repr(value)
        raise InputError(f"{row.place}: column {columns.split!r} holds {shown}, not a name")
    name = "" if value is None else str(value).strip()
    unfit = any(sign in name for sign in "/\\\0") or name.startswith(".") or not is_text(name)
    if unfit or name in _RESERVED_FOLDERS:
        raise InputError(
            f"{row.place}: column {columns.split!r} holds {name!r}, which cannot name a folder "
            f"(no slash, no leading dot, none of {', '.join(_RESERVED_FOLDERS)})"
        )
    return name or UNASSIGNED


def _merge(extras: list[dict[str, Any]]) -> dict[str, Any]:
    """Further columns of a picture's rows: one value where all agree, otherwise a list by row."""
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for extra in extras for name in extra):
        values = [extra.get(name) for extra in extras]
        merged[name] = values[0] if all(value == values[0] for value in values) else values
    return merged


def _plain(value: Any) -> Any:  # noqa: ANN401 (any value of a table)
    """A value as JSON can hold it: what is not a number becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | None) else str(value)
