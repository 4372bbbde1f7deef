"""One way in: a path and a split, whatever the layout."""

import os
from pathlib import Path

from eval.datasets import (
    aro,
    class_folders,
    clip_benchmark,
    cola,
    countbench,
    crepe,
    flickr8k_judgements,
    long_captions,
    mmvp,
    nlvr,
    pairs,
    shards,
    sugar_crepe,
    valse,
    winoground,
)
from eval.datasets.dataset import EvalDataset
from vlp.data.tables import SUFFIXES as TABLES

DEFAULT_SPLIT = "test"
# sets as they are published, recognised by their files; one's own table comes last
PUBLISHED = (
    sugar_crepe,
    winoground,
    aro,
    valse,
    crepe,
    mmvp,
    cola,
    nlvr,
    flickr8k_judgements,
    long_captions,
    countbench,
    pairs,
)
EXPECTED = (
    "CLIP_benchmark's layout (SPLIT/nshards.txt, SPLIT/0.tar ...), indexed shards (*.tar with "
    "annotations/index, in the folder or in SPLIT/), a folder of class folders (CLASS/*.png or "
    "SPLIT/CLASS/*.png), the files of a published set, or a table (.jsonl, .csv, .tsv) with image "
    "and caption"
)


def open_dataset(path: str | Path, split: str | None = None) -> EvalDataset:
    """Open an evaluation set in any of the layouts that are known.

    Args:
        path: the folder of the data set, or of one split of it, or a table.
        split: the subfolder to read, or the part of a published set or table. Without it that is
            `test`, but the folder itself where it is a split or has none, and all of a published
            set that has no splits.

    Raises:
        FileNotFoundError: no such folder, or a file that the layout needs is missing.
        ValueError: the folder has no such split or none of the known layouts (the message says
            what it holds), or its contents contradict each other.
    """
    path = Path(path).expanduser()
    if path.is_file() and path.suffix.lower() in TABLES:
        dataset = pairs.read(path, split)
    elif not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise FileNotFoundError(f"data {path} {what}; expected a folder: {EXPECTED}")
    else:
        dataset = _open_folder(path, split)
    if len(dataset) == 0:
        where = f"data {path}" if dataset.split is None else f"data {path}, split {dataset.split!r}"
        raise ValueError(f"{where}: no sample in it")
    return dataset


def _open_folder(path: Path, split: str | None) -> EvalDataset:
    if not shards.recognise(path):
        for layout in PUBLISHED:
            if layout.recognise(path):
                found: EvalDataset = layout.read(path, split)
                return found
    return _read(*_find_split(path, split))


def _find_split(path: Path, split: str | None) -> tuple[Path, Path, str | None]:
    """(folder of the data set, folder to read, name of the split or None where there are none)."""
    wanted = split or DEFAULT_SPLIT
    if split is not None and (split in ("", "..") or Path(split).name != split):
        raise ValueError(f"split {split!r}: expected the name of a folder in {path}")
    if (path / wanted).is_dir():
        return path, path / wanted, wanted
    splits = sorted(child.name for child in path.iterdir() if _is_split(child))
    if splits and not shards.recognise(path):
        raise ValueError(
            f"data {path} has no split {wanted!r}; choices of --split are {', '.join(splits)}"
        )
    in_benchmark = (path / "nshards.txt").is_file()
    own: str | None = Path(os.path.abspath(path)).name
    if own not in (split, *class_folders.SPLITS) and not in_benchmark:
        own = None
    if split not in (None, own):
        is_what = f"is the split {own!r}" if own else "has no splits"
        raise ValueError(f"data {path} {is_what}, but --split asks for {split!r}")
    return (path.parent if in_benchmark else path), path, own


def _read(root: Path, folder: Path, split: str | None) -> EvalDataset:
    if clip_benchmark.recognise(root, folder):
        return clip_benchmark.read(root, folder, split)
    if shards.recognise(folder):
        return shards.read(root, folder, split)
    if class_folders.recognise(folder):
        return class_folders.read(root, folder, split)
    where = f"data {root}" if split is None else f"data {root}, split {split!r}"
    raise ValueError(f"{where}: {_seen(folder)}; expected {EXPECTED}")


def _is_split(folder: Path) -> bool:
    if not folder.is_dir() or folder.name in ("annotations", "images"):
        return False
    if (folder / "nshards.txt").is_file() or shards.recognise(folder):
        return True
    return folder.name in class_folders.SPLITS and class_folders.recognise(folder)


def _seen(folder: Path) -> str:
    names = sorted(child.name + "/" * child.is_dir() for child in folder.iterdir())
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{folder} holds {', '.join(names[:8])}{more}" if names else f"{folder} is empty"
