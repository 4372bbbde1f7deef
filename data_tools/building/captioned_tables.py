"""Tables as input: a row for each caption or picture, pictures as paths or as their bytes."""

import os
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.building.collection import (
    Collection,
    Columns,
    FileReader,
    Picture,
    Reader,
    plain,
    split_name,
    with_captions,
)
from data_tools.building.embedded import TableReader, embedded_pictures, embeds_pictures
from data_tools.tables import read_rows
from vlp.data.tables import Row
from vlp.errors import InputError
from vlp.progress import watched


@dataclass
class _Gathered:
    """The rows of one picture, collected."""

    source: str
    split: str
    place: str
    captions: list[str]
    extras: list[dict[str, Any]]
    location: tuple[str, int, int] | None = None


def read_tables(paths: Sequence[Path], columns: Columns, images: Path | None) -> Collection:
    """The pictures of tables, one after another; rows of one picture are merged.

    Args:
        images: where relative paths start; the folder of the tables without it.

    Raises:
        InputError: a row says no picture, or a caption that is no text.
    """
    folders = {path.parent.resolve() for path in paths}
    if images is None and len(folders) > 1:
        raise InputError(
            f"--input {paths[0]}: the tables lie in {len(folders)} folders; say by --images where "
            "their relative paths start"
        )
    folder = min(folders) if images is None else images.resolve()
    if not folder.is_dir():
        raise InputError(f"--images {images}: no such folder")
    around = os.path.commonpath(folders)
    pictures: dict[str, _Gathered] = {}  # by the path itself: a file has many spellings
    rows = 0
    for path in paths:
        name = str(path.resolve().relative_to(around))
        embeds = embeds_pictures(path, columns.image)
        found = _embedded_rows(path, name, columns) if embeds else _rows(path, columns)
        for gathered in watched(found, "reading the table", "rows"):
            rows += 1
            known = pictures.setdefault(_identity(folder, gathered), gathered)
            if known is not gathered:
                _add(known, gathered)
    if not pictures:
        raise InputError(f"{paths[0]}: no rows")
    told = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1:,} more"
    reader: Reader = FileReader(folder=folder)
    if any(gathered.location for gathered in pictures.values()):
        reader = TableReader(column=columns.image, folder=folder)
    return Collection(
        kind=f"table {told}: {rows:,} rows, {len(pictures):,} pictures",
        splits=_splits(pictures.values()),
        files=tuple(paths),
        reader=reader,
        options=frozenset({"image_column", "caption_column", "split_column", "images"}),
    )


def _identity(folder: Path, gathered: _Gathered) -> str:
    if gathered.location is not None:
        path, row, _ = gathered.location
        return f"{path}\0{row}"
    return os.path.normpath(folder / gathered.source)


def _splits(pictures: Iterable[_Gathered]) -> dict[str, list[Picture]]:
    splits: dict[str, list[Picture]] = {}
    for gathered in pictures:
        picture = Picture(
            source=gathered.source, extra=_merge(gathered.extras), location=gathered.location
        )
        splits.setdefault(gathered.split, []).append(with_captions(picture, gathered.captions))
    return splits


def _rows(path: Path, columns: Columns) -> Iterator[_Gathered]:
    for row in read_rows(path, set(vars(columns).values())):
        source = _take(dict(row.values), columns.image, "--image-column", row)
        if not isinstance(source, str) or not source.strip():
            shown = reprlib.repr(source)
            raise InputError(f"{row.place}: column {columns.image!r} holds {shown}, not a path")
        yield _gathered(row, source, columns)


def _embedded_rows(path: Path, name: str, columns: Columns) -> Iterator[_Gathered]:
    """Rows whose pictures are in the table; one without bytes may name a file."""
    named = {columns.caption, columns.split}
    rows = read_rows(path, named, without=columns.image)
    for number, (row, held) in enumerate(
        zip(rows, embedded_pictures(path, columns.image), strict=True)
    ):
        if held.size is None and held.path:
            yield _gathered(row, held.path, columns)
            continue
        gathered = _gathered(row, f"{name}#{number}", columns)
        if held.path is not None:
            gathered.extras[0].setdefault(f"{columns.image}_path", held.path)
        gathered.location = (str(path), number, -1 if held.size is None else held.size)
        yield gathered


def _gathered(row: Row, source: str, columns: Columns) -> _Gathered:
    values = dict(row.values)
    values.pop(columns.image, None)
    captions = _texts(_take(values, columns.caption, "--caption-column", row), columns, row)
    split = ""
    if columns.split is not None:
        value = _take(values, columns.split, "--split-column", row)
        split = split_name(value, columns.split, row.place)
    try:
        extra = {name: plain(value) for name, value in values.items()}
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


def _merge(extras: list[dict[str, Any]]) -> dict[str, Any]:
    """Further columns of a picture's rows: one value where all agree, otherwise a list by row."""
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for extra in extras for name in extra):
        values = [extra.get(name) for extra in extras]
        merged[name] = values[0] if all(value == values[0] for value in values) else values
    return merged
