"""Recognises what an input is, and has it read."""

import glob
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import braceexpand

from data_tools.building.archives import check_plain
from data_tools.building.captioned_tables import read_tables
from data_tools.building.coco import read_coco
from data_tools.building.collection import Collection, Columns
from data_tools.building.folders import PICTURE_SUFFIXES, read_folder, visible_files
from data_tools.building.img2dataset import is_img2dataset, read_img2dataset
from data_tools.building.tar_samples import read_tars
from data_tools.tables import SUFFIXES
from vlp.errors import InputError

_EXPECTED = (
    f"a table ({', '.join(SUFFIXES)}), COCO's captions (.json), tars (.tar), a folder of pictures "
    "with .txt captions, a folder of class folders, or a folder that img2dataset wrote"
)


def read_input(
    place: str | Path, columns: Columns, templates: tuple[str, ...], images: Path | None = None
) -> Collection:
    """Every picture of an input with its captions.

    Args:
        place: a file, a folder, or a pattern of files of one kind.
        templates: captions of class folders, with `{c}` for the class name.
        images: where relative paths start, if that is not the folder of the table.

    Raises:
        InputError: nothing is there, or it is nothing that can be built from.
    """
    text = str(place).removeprefix("file://")
    if "://" in text or text.startswith("pipe:"):
        raise InputError(
            f"--input {text}: only files of this machine are read, and no command is run"
        )
    try:
        return _read(_found(text), columns, templates, images)
    except OSError as error:
        raise InputError(f"--input {error.filename or text}: {error.strerror or error}") from None


def _found(text: str) -> list[Path]:
    """The files or the folder that a name or pattern stands for."""
    if os.path.lexists(text):
        return [Path(text)]
    try:
        names = list(braceexpand.braceexpand(text))
    except ValueError as error:
        raise InputError(f"--input {text}: {error}") from None
    found: dict[Path, None] = {}
    for name in names:
        matches = [name] if os.path.lexists(name) else sorted(glob.glob(name))
        if not matches:
            raise InputError(f"--input {name}: no such file or folder")
        found |= dict.fromkeys(map(Path, matches))
    return list(found)


def _read(
    paths: Sequence[Path], columns: Columns, templates: tuple[str, ...], images: Path | None
) -> Collection:
    if len(paths) == 1 and paths[0].is_dir():
        return _read_folder(paths[0], columns, templates)
    kinds = {path.suffix.lower() for path in paths if not path.is_dir()}
    if kinds == {".tar"}:
        return read_tars(paths, columns, templates)
    if kinds == {".json"} and len(paths) == 1:
        return read_coco(paths[0], columns, images)
    if len(kinds) == 1 and kinds <= set(SUFFIXES):
        return read_tables(paths, columns, images)
    for path in paths:
        if path.is_file():
            check_plain(path)
    names = ", ".join(repr(kind or "(none)") for kind in sorted(kinds)) or "none, as folders"
    what = "a file" if len(paths) == 1 else f"{len(paths):,} files"
    raise InputError(f"--input {paths[0]}: {what} with the suffix {names}; expected {_EXPECTED}")


def _read_folder(folder: Path, columns: Columns, templates: tuple[str, ...]) -> Collection:
    if is_img2dataset(folder):
        return read_img2dataset(folder, columns)
    files = sorted(visible_files(folder))
    tars = [folder / file for file in files if file.suffix.lower() == ".tar"]
    if tars and not any(file.suffix.lower() in PICTURE_SUFFIXES for file in files):
        return replace(read_tars(tars, columns, templates), searched=folder)
    return read_folder(folder, files, templates)
