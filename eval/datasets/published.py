"""What the readers of published files have in common: finding them, and their fields by name."""

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from eval.datasets.dataset import EvalDataset
from eval.datasets.items import Items
from eval.datasets.pictures import Pictures
from vlp.data.tables import Row, read_rows

_HEAD = 1 << 16  # bytes of a file by which it is recognised


def find(root: Path, folders: Sequence[str], pattern: str, *fields: str) -> list[Path]:
    """The files of the first folder that has any whose beginning names all fields, sorted.

    Args:
        root: folder of the set.
        folders: sub-folders in which the files may lie; "" is `root` itself.
        pattern: of their names, such as *.json.
        fields: as they are named in the entries.
    """
    for folder in folders:
        files = (file for file in sorted((root / folder).glob(pattern)) if file.is_file())
        found = [file for file in files if _names(file, fields)]
        if found:
            return found
    return []


def choose(root: Path, files: Sequence[Path], split: str | None) -> list[Path]:
    """All files, or the one that is called `split`.

    Raises:
        ValueError: there is none of that name.
    """
    chosen = [file for file in files if split in (None, file.stem)]
    if not chosen:
        choices = ", ".join(file.stem for file in files)
        raise ValueError(f"data {root} has no split {split!r}; choices of --split are {choices}")
    return chosen


def entries(path: Path) -> Iterator[tuple[str, Row]]:
    """(name, entry) of a JSON object or list of objects, or of a table whose rows have numbers.

    Raises:
        ValueError: not JSON, or an entry that is no object.
    """
    if path.suffix != ".json":
        yield from ((str(number), row) for number, row in enumerate(read_rows(path)))
        return
    content = read_json(path)
    if not isinstance(content, dict | list):
        raise ValueError(f"{path}: expected an object or a list, got {type(content).__name__}")
    for name, value in content.items() if isinstance(content, dict) else enumerate(content):
        place = f"{path}, entry {name!r}"
        if not isinstance(value, dict):
            raise ValueError(f"{place}: expected an object, got {type(value).__name__}")
        yield str(name), Row(place, value)


def read_json(path: Path) -> Any:  # noqa: ANN401 (any JSON value)
    """The content of a JSON file.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(path.read_bytes())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{path}: JSON that is nested too deeply") from None


def text(row: Row, *names: str) -> str:
    """The text in the first of the fields that is there.

    Raises:
        ValueError: none is there, or it holds something else or nothing.
    """
    name = next((name for name in names if name in row.values), names[0])
    value = row.values.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{row.place}: expected a text in {name!r}, got {value!r:.60}")
    return value


def number(row: Row, name: str) -> float:
    """The number in a field, which in a table is written as text.

    Raises:
        ValueError: it holds something else.
    """
    value = row.values.get(name)
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found):
        raise ValueError(f"{row.place}: expected a number in {name!r}, got {value!r:.60}")
    return found


def as_dataset(
    layout: str, path: Path, split: str | None, pictures: Pictures, items: Items
) -> EvalDataset:
    """A set of pictures with what is chosen among them; it is called as its layout is.

    Raises:
        FileNotFoundError: none of the pictures is there.
    """
    pictures.check()
    return EvalDataset(
        name=layout,
        path=path,
        split=split,
        layout=layout,
        keys=pictures.keys,
        places=pictures.places,
        selection=items.selection(),
    )


def _names(file: Path, fields: Sequence[str]) -> bool:
    """Whether a table has all these columns, or the beginning of JSON names all these fields."""
    delimiter = {".csv": ",", ".tsv": "\t"}.get(file.suffix.lower())
    if delimiter is None:
        with open(file, "rb") as opened:
            head = opened.read(_HEAD)
        return all(f'"{name}"'.encode() in head for name in fields)
    with open(file, encoding="utf-8-sig", errors="replace") as opened:
        header = next(csv.reader([opened.readline(_HEAD)], delimiter=delimiter), [])
    return set(fields) <= set(header)
