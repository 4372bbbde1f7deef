"""Folders as input: pictures with captions beside them, or one folder for each class."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from data_tools.building.collection import (
    Collection,
    FileReader,
    Picture,
    Reader,
    read_file,
    with_captions,
)
from vlp.data.files import is_text
from vlp.errors import InputError
from vlp.progress import watched

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
SPLIT_FOLDERS = ("train", "val", "valid", "validation", "dev", "test")


def read_folder(
    folder: Path, files: Sequence[PurePosixPath], templates: tuple[str, ...]
) -> Collection:
    """The pictures below a folder, with their captions.

    Args:
        files: all `visible_files` of it, sorted.
        templates: captions of class folders, with `{c}` for the class name.

    Raises:
        InputError: no pictures, or no way to tell what describes them.
    """
    pictures = [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES]
    texts = {file.with_suffix("") for file in files if file.suffix.lower() == ".txt"}
    depths = {len(file.parts) for file in pictures}
    with_text = [file for file in pictures if file.with_suffix("") in texts]
    if with_text and not (min(depths) > 1 and 2 * len(with_text) < len(pictures)):
        return _captioned(folder, files, pictures, texts)
    if with_text:
        raise InputError(
            f"--input {folder}: {len(with_text):,} of {len(pictures):,} pictures have a .txt, "
            f"{with_text[0]} for one, the others only a folder; move those .txt away for class "
            "folders, or the pictures without one for captions"
        )
    if max(depths, default=1) < 2:
        tars = sum(file.suffix.lower() == ".tar" for file in files)
        hint = "; for tars, a folder of them alone" if tars else ""
        raise InputError(
            f"--input {folder}: {len(pictures):,} pictures, 0 of them with a .txt, {tars} tars, "
            f"{len(files) - len(pictures) - tars} other files; expected pictures with .txt "
            "captions of the same name, a folder for each class, or a table with paths and "
            f"captions{hint}"
        )
    reader = FileReader(folder=folder.resolve())
    found = [(file, Picture(source=str(file))) for file in pictures]
    collection = class_collection(f"folder {folder}", found, reader, templates)
    ignored = f" (ignored: {len(files) - len(pictures):,} other files)"
    return replace(collection, kind=collection.kind + ignored)


def class_collection(
    place: str,
    found: Sequence[tuple[PurePosixPath, Picture]],
    reader: Reader,
    templates: tuple[str, ...],
) -> Collection:
    """Pictures in class folders, CLASS/PICTURE or SPLIT/CLASS/PICTURE, with captions by template.

    Args:
        place: what holds them, for messages.
        found: the path of each picture below it, and the picture.

    Raises:
        InputError: some pictures lie this way and some another.
    """
    level = _class_level(place, [file for file, _ in found])
    folders = sorted({file.parts[level] for file, _ in found})
    for name in folders:
        if not is_text(name):
            raise InputError(f"{place}: the class folder {name!r} is not UTF-8; rename it")
    classnames = tuple(name.replace("_", " ") for name in folders)
    captions = [[line.replace("{c}", name) for line in templates] for name in classnames]
    splits: dict[str, list[Picture]] = {}
    for file, picture in sorted(found, key=lambda pair: _mixed(pair[0])):
        label = folders.index(file.parts[level])
        labelled = with_captions(replace(picture, label=label), captions[label])
        splits.setdefault(file.parts[0] if level else "", []).append(labelled)
    splits = dict(sorted(splits.items()))
    above = f" in the splits {', '.join(splits)}" if level else ""
    return Collection(
        kind=f"{place}: {len(folders):,} classes, {len(found):,} pictures{above}",
        splits=splits,
        reader=reader,
        classnames=classnames,
        templates=templates,
        options=frozenset({"caption_template", "templates"}),
    )


def _class_level(place: str, pictures: Sequence[PurePosixPath]) -> int:
    """0 for CLASS/PICTURE, 1 for SPLIT/CLASS/PICTURE.

    Raises:
        InputError: some pictures lie this way and some another.
    """
    beside = [file for file in pictures if len(file.parts) == 1]
    if beside:
        raise InputError(f"{place}: {beside[0]} lies beside the class folders; it has no class")
    split = [len(file.parts) > 2 and file.parts[0] in SPLIT_FOLDERS for file in pictures]
    if any(split) and not all(split):
        few_outside = 2 * sum(split) >= len(split)
        odd = pictures[split.index(not few_outside)]
        raise InputError(
            f"{place}: {sum(split):,} of {len(split):,} pictures lie in SPLIT/CLASS/ "
            f"({', '.join(SPLIT_FOLDERS)}), {odd} {'does not' if few_outside else 'for one'}; "
            "move it, as its class cannot be told"
        )
    return int(all(split))


def visible_files(folder: Path) -> Iterator[PurePosixPath]:
    """Visible files below a folder, relative to it, in no particular order; links are followed.

    Raises:
        OSError: a folder that cannot be listed.
        InputError: a link that leads back to a folder above it.
    """
    above: dict[str, tuple[str, ...]] = {}  # folder -> the real paths of those around it
    walk = os.walk(folder, onerror=_give_up, followlinks=True)
    for root, folders, names in watched(walk, "listing the folder", "folders"):
        around = above.pop(root, ())
        real = os.path.realpath(root)
        if real in around:
            raise InputError(f"--input {root}: a link back to {real}, which holds it; remove it")
        folders[:] = [name for name in folders if name[0] != "." and name != "__MACOSX"]
        above |= {os.path.join(root, name): (*around, real) for name in folders}
        inside = PurePosixPath(Path(root).relative_to(folder))
        yield from (inside / name for name in names if name[0] != ".")


def _give_up(error: OSError) -> None:
    raise error


def _captioned(
    folder: Path,
    files: Sequence[PurePosixPath],
    pictures: list[PurePosixPath],
    texts: set[PurePosixPath],
) -> Collection:
    found = [
        _with_sidecar(folder, file, file.with_suffix("") in texts)
        for file in watched(pictures, "reading captions", "files")
    ]
    captioned = sum(file.with_suffix("") in texts for file in pictures)
    others = sum(file.suffix.lower() != ".txt" for file in files) - len(pictures)
    alone = len(texts - {file.with_suffix("") for file in pictures})
    kind = (
        f"folder {folder}: {captioned:,} of {len(pictures):,} pictures have a .txt caption "
        f"(ignored: {alone:,} .txt without a picture, {others:,} other files)"
    )
    return Collection(kind=kind, splits={"": found}, reader=FileReader(folder=folder.resolve()))


def _with_sidecar(folder: Path, file: PurePosixPath, has_text: bool) -> Picture:
    picture = Picture(source=str(file))
    if not has_text:
        return replace(picture, status="empty_caption", message="no .txt of the same name")
    text = file.with_suffix(".txt")
    try:
        lines = read_file(folder / text).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        return replace(picture, status="bad_caption", message=f"{text} is not UTF-8: {error}")
    except OSError as error:
        return replace(picture, status="bad_caption", message=f"{text}: {error.strerror or error}")
    return with_captions(picture, [line for line in lines if line.strip()])


def _mixed(file: PurePosixPath) -> bytes:
    """A fixed order that mixes the classes: shards of one class each would make poor batches."""
    return hashlib.sha256(str(file).encode("utf-8", "surrogateescape")).digest()
