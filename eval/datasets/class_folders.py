"""A folder of class folders: ROOT/CLASS/PICTURE, or ROOT/SPLIT/CLASS/PICTURE."""

from pathlib import Path

import numpy as np

from eval.datasets.dataset import EvalDataset, Place, beside, read_classnames, read_lines
from vlp.data.files import is_text

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SPLITS = ("train", "val", "valid", "validation", "dev", "test")


def recognise(folder: Path) -> bool:
    return any(_pictures(child) for child in _folders(folder))


def read(path: Path, folder: Path, split: str | None) -> EvalDataset:
    """Read the file names; classes are the folders of all splits in the order of their names.

    `classnames.txt` in the folder, or beside the split folders, renames the classes, line i being
    class i.

    Raises:
        ValueError: class names that do not match the number of folders, a name that is no text, or
            an empty class folder.
    """
    found = {child.name: _pictures(child) for child in _folders(folder)}
    empty = [name for name, pictures in found.items() if not pictures]
    if empty:
        raise ValueError(f"{folder / empty[0]} holds no picture ({', '.join(SUFFIXES)})")
    classes = _classes(path, folder)
    files = [file for pictures in found.values() for file in pictures]
    resolved = folder.resolve()
    return EvalDataset(
        name=resolved.parent.name if resolved.name == split else resolved.name,
        path=path,
        split=split,
        layout="class_folders",
        keys=[file.relative_to(folder).as_posix() for file in files],
        places=[Place(str(file), 0, file.stat().st_size) for file in files],
        labels=np.repeat([classes.index(name) for name in found], list(map(len, found.values()))),
        classnames=_names(path, folder, classes),
        templates=beside(path, folder, "zeroshot_classification_templates.txt", read_lines),
    )


def _classes(path: Path, folder: Path) -> list[str]:
    """The class folders of every split: a class that this one lacks must not move the labels."""
    splits = {folder}
    if folder != path:
        splits |= {child for child in _folders(path) if child.name in SPLITS and recognise(child)}
    return sorted({child.name for split in splits for child in _folders(split)})


def _names(path: Path, folder: Path, classes: list[str]) -> list[str]:
    names = beside(path, folder, "classnames.txt", read_classnames)
    if names is None:
        bad = [name for name in classes if not is_text(name)]
        if bad:
            raise ValueError(
                f"data {path}: the name of the class folder {bad[0]!r} is not UTF-8; rename it"
            )
        return [name.replace("_", " ") for name in classes]
    if len(names) != len(classes):
        raise ValueError(
            f"data {path}: classnames.txt has {len(names)} lines for {len(classes)} class folders "
            f"({', '.join(map(repr, classes[:5]))}{', ...' if len(classes) > 5 else ''})"
        )
    return names


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and child.name[0] != ".")


def _pictures(folder: Path) -> list[Path]:
    files = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    return sorted(file for file in files if file.is_file() and file.name[0] != ".")
