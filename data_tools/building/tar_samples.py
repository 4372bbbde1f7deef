"""Tars as input: samples of any WebDataset writer, or pictures in class folders."""

import json
import os
import reprlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from data_tools.building.archives import TEXTS, Tar, TarSample, is_inside, open_tar
from data_tools.building.class_names import ClassNames
from data_tools.building.collection import (
    UNASSIGNED,
    Collection,
    Columns,
    MemberReader,
    Picture,
    normalised,
    plain,
    split_name,
)
from data_tools.building.folders import class_collection
from vlp.errors import InputError
from vlp.progress import watched


def read_tars(paths: Sequence[Path], columns: Columns, templates: tuple[str, ...]) -> Collection:
    """Every picture of some tars, with captions from .txt, .json or the class folders.

    Raises:
        InputError: a tar is damaged, or nothing says what describes its pictures.
    """
    around = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    tars = [
        open_tar(path, str(path.absolute().relative_to(around)))
        for path in watched(paths, "listing the tars", "tars")
    ]
    name = paths[0] if len(paths) == 1 else f"{around} ({len(tars):,} tars)"
    samples = [sample for tar in tars for sample in tar.samples]
    if not any(sample.pictures for sample in samples):
        raise InputError(f"--input {name}: no pictures in {len(samples):,} samples")
    ignored = sum(tar.ignored for tar in tars)
    told = f" (ignored: {ignored:,} other members)" if ignored else ""
    files = tuple(paths)
    if any(extension in TEXTS for sample in samples for extension in sample.members):
        classes = ClassNames.beside(around, templates)
        return replace(
            _captioned(tars, columns, classes),
            kind=f"tar {name}: {len(samples):,} samples{told}",
            files=files,
        )
    collection = _classes(f"tar {name}", tars, templates)
    return replace(collection, kind=collection.kind + told, files=files)


def _captioned(tars: Sequence[Tar], columns: Columns, classes: ClassNames) -> Collection:
    splits: dict[str, list[Picture]] = {}
    has_split = columns.split is None
    for tar in watched(tars, "reading captions", "tars"):
        for sample in tar.samples:
            picture, fields = _described(tar, sample, columns, classes)
            has_split |= columns.split in fields
            split = ""
            if columns.split is not None:
                value = fields.pop(columns.split, None)
                split = split_name(value, columns.split, picture.source)
            extra = {"key": sample.key, **plain(fields)}
            splits.setdefault(split, []).append(replace(picture, extra=extra))
        for link in tar.links:
            split = "" if columns.split is None else split_name(None, columns.split, link)
            splits.setdefault(split, []).append(tar.link(link))
    if not has_split:
        raise InputError(f"--split-column {columns.split}: no .json member has that field")
    options = frozenset({"caption_column", "split_column"})
    return Collection(
        kind="",
        splits=splits,
        reader=MemberReader(),
        classnames=classes.names,
        templates=classes.templates,
        options=options,
    )


def _classes(place: str, tars: Sequence[Tar], templates: tuple[str, ...]) -> Collection:
    found = [
        (picture.source.removeprefix(f"{tar.name}/"), picture)
        for tar in tars
        for picture in (*map(tar.picture, tar.samples), *map(tar.link, tar.links))
    ]
    inside = [(PurePosixPath(name), picture) for name, picture in found if is_inside(name)]
    collection = class_collection(place, inside, MemberReader(), templates)
    outside = [picture for name, picture in found if not is_inside(name)]
    splits = {name: list(pictures) for name, pictures in collection.splits.items()}
    if outside:
        splits.setdefault("" if "" in splits else UNASSIGNED, []).extend(outside)
    return replace(collection, splits=splits)


def _described(
    tar: Tar, sample: TarSample, columns: Columns, classes: ClassNames
) -> tuple[Picture, dict[str, Any]]:
    """The picture of a sample with its captions, and the further fields of its .json."""
    picture = tar.picture(sample)
    fields: dict[str, Any] = {}
    text: str | None = None
    try:
        if "json" in sample.members:
            fields = _object(tar.read(sample.members["json"]))
        if "txt" in sample.members:
            text = tar.read(sample.members["txt"]).decode("utf-8-sig")
        if "cls" in sample.members:
            fields.setdefault("cls", tar.read(sample.members["cls"]).decode("utf-8-sig").strip())
        captions = take_captions(fields, text, columns.caption)
    except (ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON
        if picture.status == "success":
            picture = replace(picture, status="bad_caption", message=str(error))
        return picture, fields
    label = fields.pop("cls", fields.get("label")) if classes.names else None
    return classes.labelled(picture, label, captions), fields


def _object(data: bytes) -> dict[str, Any]:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError(f"the .json holds {reprlib.repr(value)}, not an object")
    return value


def take_captions(fields: dict[str, Any], text: str | None, column: str) -> list[str]:
    """The captions of a sample, taken out of its fields: the .txt first, then those of the .json.

    A column that is named by the user is the only source.

    Args:
        text: the .txt, one caption as in every WebDataset.

    Raises:
        ValueError: a field that is no text.
    """
    if column != Columns.caption:
        return _texts(fields.pop(column, None), column)
    captions = [] if text is None else [text]
    known = {normalised(text or "")}
    for name in ("captions", "caption"):
        if fields.get(name) is None:
            fields.pop(name, None)
            continue
        if not _holds_texts(fields[name]):
            continue  # another writer's field of that name
        further = _texts(fields[name], name)
        if name == "captions" or not captions or known >= set(map(normalised, further)):
            fields.pop(name, None)
            captions += [caption for caption in further if normalised(caption) not in known]
            known |= set(map(normalised, further))
    return captions


def _holds_texts(value: object) -> bool:
    return all(isinstance(text, str | None) for text in _listed(value))


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _texts(value: object, name: str) -> list[str]:
    if not _holds_texts(value):
        raise ValueError(f"the field {name!r} holds {reprlib.repr(value)}, not a text or texts")
    return [text or "" for text in _listed(value)]
