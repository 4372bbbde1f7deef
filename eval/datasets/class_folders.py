"""A folder of class folders: ROOT/CLASS/PICTURE, or ROOT/SPLIT/CLASS/PICTURE."""

from pathlib import Path

import numpy as np

from eval.datasets.dataset import EvalDataset, Place, read_lines

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def recognise(folder: Path) -> bool:
    return any(_pictures(child) for child in _folders(folder))


def read(path: Path, folder: Path, split: str) -> EvalDataset:
    """Read the file names; classes are the folders in the order of their names.

    `classnames.txt` in the folder or above it renames the classes, line i being folder i.

    Raises:
        ValueError: class names that do not match the number of folders, or an empty class folder.
    """
    classes = _folders(folder)
    pictures = [_pictures(child) for child in classes]
    empty = [child for child, found in zip(classes, pictures, strict=True) if not found]
    if empty:
        raise ValueError(f"{empty[0]} holds no picture ({', '.join(SUFFIXES)})")
    files = [file for found in pictures for file in found]
    resolved = folder.resolve()
    names = read_lines(folder / "classnames.txt") or read_lines(folder.parent / "classnames.txt")
    return EvalDataset(
        name=resolved.parent.name if resolved.name == split else resolved.name,
        path=path,
        split=split,
        layout="class_folders",
        keys=[file.relative_to(folder).as_posix() for file in files],
        places=[Place(str(file), 0, file.stat().st_size) for file in files],
        labels=np.repeat(np.arange(len(classes)), [len(found) for found in pictures]),
        classnames=names or [child.name.replace("_", " ") for child in classes],
        templates=read_lines(folder / "zeroshot_classification_templates.txt"),
    )


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and child.name[0] != ".")


def _pictures(folder: Path) -> list[Path]:
    files = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    return sorted(file for file in files if file.is_file() and file.name[0] != ".")
