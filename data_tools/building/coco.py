"""Captions in COCO's JSON, and in Karpathy's, as input.

COCO: {"images": [{"id", "file_name", ...}], "annotations": [{"image_id", "caption"}]}
Karpathy: {"images": [{"filename", "filepath", "split", "sentences": [{"raw"}], ...}]}
"""

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from data_tools.building.collection import (
    Collection,
    Columns,
    FileReader,
    Picture,
    plain,
    split_name,
    with_captions,
)
from vlp.errors import InputError

_Record = Mapping[str, Any]


def read_coco(path: Path, columns: Columns, images: Path | None) -> Collection:
    """Every image of such a file with its captions, in their order; an image without any fails.

    Args:
        images: folder of the pictures; the folder of the file without it.

    Raises:
        InputError: the file is no such JSON; the message names the record and the field.
    """
    folder = path.parent.resolve() if images is None else images.resolve()
    if not folder.is_dir():
        raise InputError(f"--images {images}: no such folder")
    content = _load(path)
    records = _records(path, content, "images")
    if not records:
        raise InputError(f"--input {path}: no images")
    options = frozenset({"images"})
    if "annotations" in content:
        splits = {"": _from_annotations(path, records, _records(path, content, "annotations"))}
    else:
        splits = _from_sentences(path, records, columns)
        options |= {"split_column"}
    captions = sum(len(picture.captions) for found in splits.values() for picture in found)
    return Collection(
        kind=f"COCO captions {path}: {len(records):,} images, {captions:,} captions",
        splits=splits,
        reader=FileReader(folder=folder),
        options=options,
    )


def _load(path: Path) -> _Record:
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"--input {path}: not JSON ({error})") from None
    if not isinstance(content, dict) or "images" not in content:
        names = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise InputError(
            f"--input {path}: expected COCO's object with `images` and `annotations`, found {names}"
        )
    return content


def _records(path: Path, content: _Record, name: str) -> list[_Record]:
    records = content[name]
    if not isinstance(records, list):
        raise InputError(f"--input {path}: {name!r} holds {reprlib.repr(records)}, not a list")
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise InputError(f"{path}, {name}[{number}]: {reprlib.repr(record)} is no object")
    return records


def _from_annotations(
    path: Path, images: list[_Record], annotations: list[_Record]
) -> list[Picture]:
    captions: dict[int | str, list[str]] = {}
    ids: dict[int | str, list[Any]] = {}
    for number, image in enumerate(images):
        image_id = _field(image, "id", int | str, f"{path}, images[{number}]")
        if image_id in captions:
            raise InputError(f"{path}, images[{number}]: the id {image_id!r} appears twice")
        captions[image_id], ids[image_id] = [], []
    for number, annotation in enumerate(annotations):
        place = f"{path}, annotations[{number}]"
        image_id = _field(annotation, "image_id", int | str, place)
        if image_id not in captions:
            raise InputError(f"{place}: image_id {image_id!r} is not among the images")
        captions[image_id].append(_field(annotation, "caption", str, place))
        ids[image_id].append(annotation.get("id"))
    pictures = []
    for number, image in enumerate(images):
        source = _field(image, "file_name", str, f"{path}, images[{number}]")
        extra = {name: plain(value) for name, value in image.items() if name != "file_name"}
        extra["image_id"] = extra.pop("id")
        extra["annotation_ids"] = plain(ids[image["id"]])
        picture = Picture(source=source, extra=extra)
        pictures.append(with_captions(picture, captions[image["id"]]))
    return pictures


def _from_sentences(
    path: Path, images: list[_Record], columns: Columns
) -> dict[str, list[Picture]]:
    splits: dict[str, list[Picture]] = {}
    for number, image in enumerate(images):
        place = f"{path}, images[{number}]"
        source = PurePosixPath(image.get("filepath") or "") / _field(image, "filename", str, place)
        sentences = _field(image, "sentences", list, place)
        captions = [_field(sentence, "raw", str, place) for sentence in sentences]
        used = ("filename", "filepath", "sentences")
        extra = {name: plain(value) for name, value in image.items() if name not in used}
        split = ""
        if columns.split is not None:
            value = _field(image, columns.split, str | int, place)
            split = split_name(value, columns.split, place)
            del extra[columns.split]
        picture = Picture(source=str(source), extra=extra)
        splits.setdefault(split, []).append(with_captions(picture, captions))
    return splits


def _field(record: _Record, name: str, kind: Any, place: str) -> Any:  # noqa: ANN401 (any type of JSON)
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        names = ", ".join(record) if isinstance(record, dict) else reprlib.repr(record)
        raise InputError(
            f"{place}: {name!r} holds {reprlib.repr(value)}; the fields are: {names or 'none'}"
        )
    return value
