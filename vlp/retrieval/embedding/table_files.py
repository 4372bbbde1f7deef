"""Tables of pictures: CSV, TSV, JSON Lines and parquet; a parquet may hold the pictures itself."""

import os
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vlp.data.tables import Row, TableError, read_rows
from vlp.errors import InputError
from vlp.progress import watched
from vlp.retrieval.embedding.columns import Columns, text, typed
from vlp.retrieval.embedding.items import (
    ABSENT,
    DataOptions,
    Item,
    Say,
    Scalar,
    file_facts,
    row_mark,
)
from vlp.retrieval.embedding.parquet_rows import Held, parquet_rows

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_IMAGE_COLUMNS = (
    *("image_path", "image", "filepath", "file_path", "filename", "file_name", "path"),
    *("img_path", "img", "image_file", "jpg", "png"),
)
_CAPTION_COLUMNS = ("caption", "captions", "text", "texts", "title", "sentence", "sentences")


@dataclass
class _Gathered:
    """The rows of one picture."""

    captions: dict[str, None]
    metadata: dict[str, Scalar]
    held: Held | None


@dataclass
class _Tables:
    """What tables say, row by row."""

    options: DataOptions
    columns: Columns = field(default_factory=Columns)
    pictures: dict[str, _Gathered] = field(default_factory=dict)
    differing: dict[str, None] = field(default_factory=dict)
    image: str = ""
    captions: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
    rows: int = 0

    def read(self, path: Path) -> None:
        start = path.parent if self.options.images is None else Path(self.options.images)
        folder = str(start.expanduser().absolute())
        for row in watched(self._rows(path), "reading the table", "rows"):
            self.rows += 1
            values = dict(row.values)
            picture = values.pop(self.image)
            columns = self._caption_columns(tuple(row.values), row.place)
            captions = [t for name in columns for t in _texts(values.pop(name), row)]
            held = picture if isinstance(picture, Held) else None
            name = held.image_path if held else _path(folder, picture, self.image, row)
            self._add(name, _Gathered(dict.fromkeys(captions), self.columns.row(values), held))

    def items(self, *, all_texts: bool) -> list[Item]:
        """One of each picture.

        Args:
            all_texts: numbers in the tables are texts.
        """
        told = []
        for name, own in watched(self.pictures.items(), "looking for files", "files"):
            size, mark = (own.held.size, own.held.mark) if own.held else file_facts(name)
            told.append((size, row_mark(mark, [list(own.captions), own.metadata])))
        if all_texts:
            typed(own.metadata for own in self.pictures.values())
        return [
            Item(name, tuple(own.captions), own.metadata, mark, size)
            for (name, own), (size, mark) in zip(self.pictures.items(), told, strict=True)
        ]

    def _rows(self, path: Path) -> Iterator[Row]:
        if path.suffix.lower() == ".parquet":
            yield from parquet_rows(path, lambda names: self._choose(names, str(path)))
            return
        for row in read_rows(path):
            self._choose(list(row.values), row.place)
            yield row

    def _choose(self, names: Sequence[str], place: str) -> str:
        """Find the column of pictures, which is the same for all rows."""
        self.image = _image_column(names, self.image or self.options.image_column, place)
        return self.image

    def _caption_columns(self, names: tuple[str, ...], place: str) -> tuple[str, ...]:
        """Find the columns of captions; lines of JSON may each have others."""
        if names not in self.captions:
            others = [name for name in names if name != self.image]
            self.captions[names] = _caption_columns(others, self.options.caption_column, place)
        return self.captions[names]

    def _add(self, name: str, other: _Gathered) -> None:
        known = self.pictures.setdefault(name, other)
        if known is other:
            return
        known.captions |= other.captions
        for column, value in other.metadata.items():
            if known.metadata.setdefault(column, value) != value:
                self.differing[column] = None


def read_tables(data: str, paths: Sequence[Path], options: DataOptions, say: Say) -> list[Item]:
    """The pictures of tables, one after another; rows of one picture are merged.

    Args:
        data: how the user called them.

    Raises:
        InputError: a table or a row of it cannot be used, or no picture is there.
    """
    tables = _Tables(options)
    for path in paths:
        try:
            tables.read(path)
        except TableError as error:
            raise InputError(str(error)) from None
    if not tables.pictures:
        raise InputError(f"{data}: no rows")
    items = tables.items(all_texts=paths[0].suffix.lower() in (".csv", ".tsv"))
    _check_there(data, items, options)
    captioned = sum(bool(item.captions) for item in items)
    used = dict.fromkeys(
        [tables.image, *(name for own in tables.captions.values() for name in own)]
    )
    say(
        f"data: {data}, {tables.rows:,} rows, {len(items):,} pictures, {captioned:,} with a caption"
        f" (columns {', '.join(used)})"
    )
    if tables.differing:
        say(f"rows of one picture differ in {', '.join(tables.differing)}: the first row counts")
    tables.columns.report(say)
    return items


def _path(folder: str, picture: object, column: str, row: Row) -> str:
    if not isinstance(picture, str) or not picture.strip():
        raise InputError(
            f"{row.place}: column {column!r} holds {reprlib.repr(picture)}, not a picture"
        )
    return picture if "://" in picture else os.path.normpath(os.path.join(folder, picture))


def _image_column(names: Sequence[str], given: str | None, place: str) -> str:
    if given is not None:
        if given not in names:
            raise InputError(
                f"{place}: no column {given!r} (--image-column); there are: {', '.join(names)}"
            )
        return given
    lower = {name.lower(): name for name in reversed(names)}
    for name in _IMAGE_COLUMNS:
        if name in lower:
            return lower[name]
    raise InputError(
        f"{place}: which column has the pictures? Name it by --image-column; "
        f"there are: {', '.join(names)}"
    )


def _caption_columns(names: Sequence[str], given: str | None, place: str) -> tuple[str, ...]:
    if given is not None:
        if given not in names:
            raise InputError(
                f"{place}: no column {given!r} (--caption-column); there are: {', '.join(names)}"
            )
        return (given,)
    lower = {name.lower(): name for name in reversed(names)}
    found = [name for name in _CAPTION_COLUMNS if name in lower]
    # `caption` is the first of `captions` where there are both
    return tuple(lower[name] for name in found if name.rstrip("s") == found[0].rstrip("s"))


def _texts(value: object, row: Row) -> list[str]:
    texts = []
    for told in value if isinstance(value, list) else [value]:
        if told is not None and not isinstance(told, str):
            raise InputError(
                f"{row.place}: a caption is {reprlib.repr(told)}; "
                "expected a text or a list of texts"
            )
        if told and told.strip():
            texts.append(text(told).strip())
    return texts


def _check_there(data: str, items: Sequence[Item], options: DataOptions) -> None:
    """Raises InputError when not one picture is there: the folder is another, then."""
    if any(item.size > ABSENT for item in items):
        return
    first = items[0].image_path
    if all("://" in item.image_path for item in items):
        raise InputError(f"{data}: addresses are not fetched ({first}); download them first")
    say_where = "" if options.images else "; say by --images where relative paths start"
    raise InputError(
        f"{data}: not one of {len(items):,} pictures is there, e.g. {first}{say_where}"
    )
