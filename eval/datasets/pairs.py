"""One's own pairs in a table: a .jsonl, .csv or .tsv file, or a folder with exactly one of them.

image: path of a picture, from the folder of the table; all rows of one picture belong together.
caption, captions: a text or a list of texts.
negatives, kinds: false texts that are nearly the (first) caption of the row, and the kind of each.
number, count: how many things the picture shows.
label: a class number, with classnames.txt beside the table, or the name of a class.
split: what `--split` chooses by, `test` by default.
id: names the row: its caption, if it has one, and its item.
caption_ids: a name for each caption, as other files (`--positives`) call them.

`image` and one of `caption`, `captions` and `label` are needed; an empty field is none, and other
columns are not read. Lists stand in a CSV as JSON; a single text needs no list.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from eval.datasets.dataset import EvalDataset, read_classnames
from eval.datasets.items import Items
from eval.datasets.pictures import Pictures
from eval.datasets.published import find, number, text
from vlp.data.tables import SUFFIXES, Row, read_rows

_DEFAULT = "test"
_NUMBERS = ("number", "count")
T = TypeVar("T")


def recognise(folder: Path) -> bool:
    return bool(_tables(folder))


def read(path: Path, split: str | None) -> EvalDataset:
    """Read a table, or the only one of a folder; the set is called as the folder of the table is.

    Raises:
        FileNotFoundError: none of the pictures is there.
        ValueError: several tables, an unknown split, or a row that is not as said above.
    """
    table = path if path.is_file() else _only_table(path)
    rows, split = _of_split(table, _rows(table), split)
    pictures, items = Pictures(table.parent), Items()
    found: dict[int, _Picture] = {}
    for row in rows:
        place = pictures.add(os.path.normpath(text(row, "image")))
        picture = found.setdefault(place, _Picture(row.place, pictures.keys[place]))
        captions, negatives = picture.add(row), _negatives(row)
        if negatives and not captions:
            raise ValueError(f"{row.place}: negatives, but no caption")
        if negatives:
            try:
                items.choose_text(picture.item(row), place, captions[0], negatives)
            except ValueError as error:
                raise ValueError(f"{row.place}: {error}") from None
    pictures.check()
    return _assemble(table, split, (pictures, items), list(found.values()))


def _rows(table: Path) -> list[Row]:
    rows = list(read_rows(table))
    if not rows:
        raise ValueError(f"{table}: no row in it")
    columns = dict.fromkeys(name for row in rows for name in row.values)
    if "image" not in columns:
        raise ValueError(f"{table}: no column 'image'; its columns are {', '.join(columns)}")
    return rows


@dataclass
class _Picture:
    """What the rows of one picture say."""

    place: str  # of its first row
    key: str
    captions: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)  # of the captions, as far as they have one
    number: int | None = None
    label: str | None = None
    items: int = 0

    def add(self, row: Row) -> list[str]:
        """Add a row; its captions."""
        captions = _texts(row, "captions") or _texts(row, "caption")
        ids = _ids(row)
        if ids and len(ids) != len(captions):
            raise ValueError(f"{row.place}: {len(ids)} `caption_ids` for {len(captions)} captions")
        if ids:
            self.ids += ids
        elif len(captions) == 1 and _value(row, "id") is not None:
            self.ids.append(str(_value(row, "id")))
        self.captions += captions
        self.number = _agreed(row, "number", self.number, _number(row))
        self.label = _agreed(row, "label", self.label, _label(row))
        return captions

    def item(self, row: Row) -> str:
        """The name of a further item."""
        self.items += 1
        name = _value(row, "id")
        if name is not None:
            return str(name)
        return self.key if self.items == 1 else f"{self.key}#{self.items - 1}"


def _assemble(
    table: Path, split: str | None, gathered: tuple[Pictures, Items], found: list[_Picture]
) -> EvalDataset:
    pictures, items = gathered
    captions = _all([own.captions or None for own in found], found, "caption")
    names = _all([own.label for own in found], found, "label")
    labels, classnames = _classes(table, names)
    if captions is None and labels is None:
        raise ValueError(f"{table}: no caption and no label in any row")
    ids = [own.ids for own in found]
    named = captions is not None and list(map(len, ids)) == list(map(len, captions))
    selection = items.selection()
    return EvalDataset(
        name=table.resolve().parent.name,
        path=table,
        split=split,
        layout="pairs",
        keys=pictures.keys,
        places=pictures.places,
        labels=labels,
        captions=captions,
        classnames=classnames,
        numbers=[own.number for own in found] if any(own.number for own in found) else None,
        caption_ids=ids if named else None,
        selection=selection if len(selection) else None,
    )


def _classes(
    table: Path, names: list[str] | None
) -> tuple[NDArray[np.int64] | None, list[str] | None]:
    """Class numbers [n] and class names: those of classnames.txt, or the labels themselves."""
    if names is None:
        return None, None
    if all(name.isascii() and name.isdigit() for name in names):
        return np.array(names, dtype=np.int64), read_classnames(table.parent / "classnames.txt")
    classes = sorted(set(names))
    return np.array([classes.index(name) for name in names], dtype=np.int64), classes


def _of_split(table: Path, rows: list[Row], split: str | None) -> tuple[list[Row], str | None]:
    """The rows of a split, and its name; all where there are no splits."""
    if not rows or all("split" not in row.values for row in rows):
        if split is not None:
            raise ValueError(f"{table} has no splits, but --split asks for {split!r}")
        return rows, None
    wanted = split or _DEFAULT
    chosen = [row for row in rows if row.values.get("split") == wanted]
    if not chosen:
        choices = ", ".join(sorted({str(row.values.get("split")) for row in rows}))
        raise ValueError(f"{table} has no split {wanted!r}; choices of --split are {choices}")
    return chosen, wanted


def _value(row: Row, name: str) -> Any:  # noqa: ANN401 (any JSON value)
    """What a field holds, None where it is empty or not there."""
    value = row.values.get(name)
    return None if value == "" else value


def _texts(row: Row, name: str) -> list[str]:
    """A field with a text or a list of texts, in a CSV as JSON."""
    value = _value(row, name)
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(json.JSONDecodeError, RecursionError):  # a text may begin with a bracket
            value = json.loads(value)
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(entry, str) and entry.strip() for entry in values):
        raise ValueError(f"{row.place}: expected texts in {name!r}, got {value!r:.60}")
    return values


def _ids(row: Row) -> list[str]:
    """`caption_ids`, texts or whole numbers; in a CSV as JSON."""
    value = _value(row, "caption_ids")
    if isinstance(value, str):
        with suppress(json.JSONDecodeError, RecursionError):
            value = json.loads(value)
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(entry, str | int) for entry in values):
        raise ValueError(f"{row.place}: expected names in 'caption_ids', got {value!r:.60}")
    return [str(entry) for entry in values]


def _negatives(row: Row) -> list[tuple[str, str]]:
    """(kind, text)"""
    texts, kinds = _texts(row, "negatives"), _texts(row, "kinds")
    if kinds and len(kinds) != len(texts):
        raise ValueError(f"{row.place}: {len(texts)} negatives, but {len(kinds)} kinds")
    return list(zip(kinds or [""] * len(texts), texts, strict=True))


def _number(row: Row) -> int | None:
    name = next((name for name in _NUMBERS if _value(row, name) is not None), None)
    if name is None:
        return None
    found = number(row, name)
    if found % 1:
        raise ValueError(f"{row.place}: expected a whole number in {name!r}, got {found:g}")
    return int(found)


def _label(row: Row) -> str | None:
    value = _value(row, "label")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise ValueError(f"{row.place}: expected a class in 'label', got {value!r:.60}")
    return str(value).strip()


def _agreed(row: Row, name: str, known: T | None, found: T | None) -> T | None:
    """The value that all rows of a picture agree on, as far as they have one."""
    if None not in (known, found) and known != found:
        raise ValueError(f"{row.place}: {name} {found!r}, but another row of it says {known!r}")
    return found if known is None else known


def _all(values: Sequence[T | None], found: list[_Picture], what: str) -> list[T] | None:
    """The values if every picture has one, None if none has."""
    there = [value for value in values if value is not None]
    if there and len(there) < len(values):
        missing = values.index(None)
        raise ValueError(f"{found[missing].place}: no {what}, but other pictures have one")
    return there or None


def _only_table(folder: Path) -> Path:
    tables = _tables(folder)
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables)
        raise ValueError(f"data {folder} holds several tables: {names}; give the path of one")
    return tables[0]


def _tables(folder: Path) -> list[Path]:
    """The tables whose rows have a picture, and a caption or a label."""
    found = [
        file
        for suffix in SUFFIXES
        for what in ("caption", "captions", "label")
        for file in find(folder, ("",), f"*{suffix}", "image", what)
    ]
    return list(dict.fromkeys(found))
