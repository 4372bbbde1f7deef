"""A folder that img2dataset wrote as input: the rows of its parquets, failures included.

NUMBER.parquet has a row for every URL, NUMBER_stats.json marks a finished shard; the pictures are
in NUMBER.tar (`webdataset`), in the folder NUMBER (`files`), or in the parquet itself (`parquet`).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_tools.building.archives import TarSample, open_tar
from data_tools.building.class_names import ClassNames
from data_tools.building.collection import (
    Collection,
    Columns,
    FileReader,
    MemberReader,
    Picture,
    plain,
    split_name,
)
from data_tools.tables import read_rows
from vlp.data.tables import Row
from vlp.errors import InputError
from vlp.progress import watched

_MARK = re.compile(r"(\d+)_stats\.json")
_FILES = (".tar", ".parquet", "_stats.json")
_EXTENSIONS = ("jpg", "png", "webp")
_OWN = ("caption", "captions", "dropped_captions", "status", "error_message", "extra")


def is_img2dataset(folder: Path) -> bool:
    """Whether a folder holds a finished shard with the table of its rows."""
    return any((folder / f"{number}.parquet").is_file() for number in _numbers(folder))


def read_img2dataset(folder: Path, columns: Columns) -> Collection:
    """Every row of every finished shard; a sample that only the tar has is one, too.

    Raises:
        InputError: a tar is damaged, or a table is none of img2dataset.
    """
    numbers = _numbers(folder)
    classes = ClassNames.beside(folder, ())
    splits: dict[str, list[Picture]] = {}
    for number in watched(numbers, "reading the shards", "shards"):
        for split, picture in _shard(folder, number, columns, classes):
            splits.setdefault(split, []).append(picture)
    rows = [picture for found in splits.values() for picture in found]
    good = sum(picture.status == "success" for picture in rows)
    tars = {path.stem for path in folder.glob("*.tar")} - set(numbers)
    unfinished = f" (ignored, as unfinished: {', '.join(sorted(tars))})" if tars else ""
    is_tars = any(picture.location for picture in rows)
    return Collection(
        kind=f"img2dataset folder {folder}: {len(numbers):,} shards, {len(rows):,} rows, "
        f"{good:,} pictures{unfinished}",
        splits=splits,
        reader=MemberReader() if is_tars else FileReader(folder=folder.resolve()),
        files=tuple(folder / f"{number}{end}" for number in numbers for end in _FILES),
        classnames=classes.names,
        templates=classes.templates,
        options=frozenset({"caption_column", "split_column"}),
    )


def _numbers(folder: Path) -> list[str]:
    matches = map(_MARK.fullmatch, (path.name for path in folder.iterdir()))
    return sorted((match[1] for match in matches if match), key=int)


def _shard(
    folder: Path, number: str, columns: Columns, classes: ClassNames
) -> Iterator[tuple[str, Picture]]:
    table, path = folder / f"{number}.parquet", folder / f"{number}.tar"
    if not table.is_file():
        raise InputError(f"--input {table}: missing, but {number}_stats.json says it is finished")
    tar = open_tar(path, path.name) if path.is_file() else None
    if tar is None and not (folder / number).is_dir():
        raise InputError(
            f"--input {folder}: neither {number}.tar nor the folder {number}; for pictures inside "
            f"of the parquets give '{folder}/*.parquet' and --image-column jpg"
        )
    samples: dict[str, TarSample] = {}
    others: list[TarSample] = []  # that come after one of the same key
    for sample in [] if tar is None else tar.samples:
        if samples.setdefault(sample.key, sample) is not sample:
            others.append(sample)
    for row in read_rows(table):
        key = _key(row)
        picture = Picture(source=f"{number}/{key}")
        if tar is None:
            picture = _file(folder, picture)
        elif key in samples:
            picture = tar.picture(samples.pop(key))
        else:
            message = f"not in {path.name}"
            picture = replace(picture, status="failed_to_read", message=message)
        yield _described(picture, row, columns, classes)
    if tar is not None:
        for sample in (*samples.values(), *others):
            what = f"a sample that {table.name} has no row of"
            picture = replace(tar.picture(sample), status="failed_to_read", message=what)
            yield _split({}, columns, picture.source), replace(picture, extra={"key": sample.key})


def _key(row: Row) -> str:
    key = row.values.get("key")
    if not isinstance(key, str):
        names = ", ".join(row.values)
        raise InputError(f"{row.place}: no column 'key' of texts; the columns are: {names}")
    return key


def _file(folder: Path, picture: Picture) -> Picture:
    for extension in _EXTENSIONS:
        if (folder / f"{picture.source}.{extension}").is_file():
            return replace(picture, source=f"{picture.source}.{extension}")
    return replace(picture, status="failed_to_read", message="no picture of that name")


def _described(
    picture: Picture, row: Row, columns: Columns, classes: ClassNames
) -> tuple[str, Picture]:
    values = dict(row.values)
    column = columns.caption
    if column == Columns.caption and values.get("captions"):
        column = "captions"
    captions = values.pop(column, None)
    texts = captions if isinstance(captions, list) else [captions]
    if any(not isinstance(text, str | None) for text in texts):
        raise InputError(f"{row.place}: column {column!r} holds no text or texts")
    status = values.get("status") or "success"
    if status != "success":
        message = str(values.get("error_message") or "")
        picture = replace(picture, status=str(status), message=message)
    split = _split(values, columns, row.place)
    extra = {name: plain(value) for name, value in values.items() if name not in _OWN}
    extra = {name: value for name, value in extra.items() if value is not None}
    further = values.get("extra")
    if isinstance(further, str):
        extra |= _object(further)
    label = extra.pop("label", None) if classes.names else None
    picture = replace(picture, extra=extra)
    return split, classes.labelled(picture, label, [text or "" for text in texts])


def _split(values: dict[str, Any], columns: Columns, place: str) -> str:
    if columns.split is None:
        return ""
    return split_name(values.pop(columns.split, None), columns.split, place)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {"extra": text}
    return value if isinstance(value, dict) else {"extra": value}
