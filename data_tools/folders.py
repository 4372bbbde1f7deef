"""Folders as input: pictures with captions beside them, or one folder for each class."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from data_tools.collection import Collection, FileReader, Picture, with_captions
from data_tools.errors import InputError
from data_tools.progress import watched

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
SPLIT_FOLDERS = ("train", "val", "valid", "validation", "dev", "test")


def read_folder(folder: Path, templates: tuple[str, ...]) -> Collection:
    """The pictures below a folder, with their captions.

    Args:
        templates: captions of class folders, with `{c}` for the class name.

    Raises:
        InputError: no pictures, or no way to tell what describes them.
    """
    files = sorted(_files(folder))
    pictures = [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES]
    texts = {file.with_suffix("") for file in files if file.suffix.lower() == ".txt"}
    depths = {len(file.parts) for file in pictures}
    captioned = sum(file.with_suffix("") in texts for file in pictures)
    saw = f"--input {folder}: {len(pictures):,} pictures, {captioned:,} of them with a .txt"
    if captioned:
        return _captioned(folder, files, pictures, texts)
    if not pictures or min(depths) < 2:
        tars = sum(file.suffix.lower() == ".tar" for file in files)
        hint = "; for tars that exist already: python -m data_tools index FOLDER" if tars else ""
        raise InputError(
            f"{saw}, {tars} tars, {len(files) - len(pictures) - tars} other files; expected "
            "pictures with .txt captions of the same name, a folder for each class, or a table "
            f"with paths and captions{hint}"
        )
    if min(depths) >= 3 and {file.parts[0] for file in pictures} <= set(SPLIT_FOLDERS):
        return _classes(folder, pictures, 1, templates)
    return _classes(folder, pictures, 0, templates)


def _files(folder: Path) -> Iterator[PurePosixPath]:
    """Visible files below a folder, relative to it, in no particular order."""
    for root, folders, names in watched(os.walk(folder), "listing the folder", "folders"):
        folders[:] = [name for name in folders if name[0] != "." and name != "__MACOSX"]
        inside = PurePosixPath(Path(root).relative_to(folder))
        yield from (inside / name for name in names if name[0] != ".")


def _captioned(
    folder: Path,
    files: list[PurePosixPath],
    pictures: list[PurePosixPath],
    texts: set[PurePosixPath],
) -> Collection:
    found = [
        _with_sidecar(folder, file, file.with_suffix("") in texts)
        for file in watched(pictures, "reading captions", "files")
    ]
    others = len(files) - len(pictures) - len(texts)
    alone = len(texts - {file.with_suffix("") for file in pictures})
    kind = (
        f"folder {folder}: {len(pictures):,} pictures with .txt captions "
        f"(ignored: {alone:,} .txt without a picture, {others:,} other files)"
    )
    return Collection(kind=kind, splits={"": found}, reader=FileReader(folder=folder.resolve()))


def _with_sidecar(folder: Path, file: PurePosixPath, has_text: bool) -> Picture:
    picture = Picture(source=str(file))
    if not has_text:
        return replace(picture, status="empty_caption", message="no .txt of the same name")
    text = file.with_suffix(".txt")
    try:
        lines = (folder / text).read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        return replace(picture, status="bad_caption", message=f"{text} is not UTF-8: {error}")
    except OSError as error:
        return replace(picture, status="bad_caption", message=f"{text}: {error.strerror}")
    return with_captions(picture, [line for line in lines if line.strip()])


def _classes(
    folder: Path, pictures: list[PurePosixPath], level: int, templates: tuple[str, ...]
) -> Collection:
    """Class folders; at level 1 a split folder lies above each of them."""
    folders = sorted({file.parts[level] for file in pictures})
    classnames = tuple(name.replace("_", " ") for name in folders)
    captions = [[line.replace("{c}", name) for line in templates] for name in classnames]
    splits: dict[str, list[Picture]] = {}
    for file in sorted(pictures, key=_mixed):
        label = folders.index(file.parts[level])
        picture = with_captions(Picture(source=str(file), label=label), captions[label])
        splits.setdefault(file.parts[0] if level else "", []).append(picture)
    splits = dict(sorted(splits.items()))
    above = f" in the splits {', '.join(splits)}" if level else ""
    return Collection(
        kind=f"folder {folder}: {len(folders):,} classes, {len(pictures):,} pictures{above}",
        splits=splits,
        reader=FileReader(folder=folder.resolve()),
        classnames=classnames,
        templates=templates,
    )


def _mixed(file: PurePosixPath) -> bytes:
    """A fixed order that mixes the classes: shards of one class each would make poor batches."""
    return hashlib.sha256(str(file).encode("utf-8", "surrogateescape")).digest()
