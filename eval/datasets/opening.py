"""One way in: a path and a split, whatever the layout."""

from pathlib import Path

from eval.datasets import class_folders, clip_benchmark, shards
from eval.datasets.dataset import EvalDataset

EXPECTED = (
    "CLIP_benchmark's layout (SPLIT/nshards.txt, SPLIT/0.tar ...), indexed shards (*.tar with "
    "annotations/index, in the folder or in SPLIT/), or a folder of class folders (CLASS/*.png or "
    "SPLIT/CLASS/*.png)"
)


def open_dataset(path: str | Path, split: str = "test") -> EvalDataset:
    """Open an evaluation set in any of the layouts that are known.

    Args:
        path: the folder of the data set, or of one split of it.
        split: the subfolder to read where the folder has splits.

    Raises:
        FileNotFoundError: no such folder, or a file that the layout needs is missing.
        ValueError: the folder has none of the known layouts (the message says what it holds), or
            its contents contradict each other.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise FileNotFoundError(f"data {path} {what}; expected a folder: {EXPECTED}")
    root = path
    if not (path / split).is_dir() and (path / "nshards.txt").is_file():
        root, split = path.parent, path.name  # the folder of one split was given
    folder = root / split if (root / split).is_dir() else path
    dataset = _read(root, folder, split)
    if len(dataset) == 0:
        raise ValueError(f"data {path}, split {split!r}: no sample in it")
    return dataset


def _read(root: Path, folder: Path, split: str) -> EvalDataset:
    splits = sorted(child.name for child in root.iterdir() if _is_split(child))
    if folder == root and splits and not shards.recognise(folder):
        raise ValueError(
            f"data {root} has no split {split!r}; choices of --split are {', '.join(splits)}"
        )
    if clip_benchmark.recognise(root, folder):
        return clip_benchmark.read(root, folder, split)
    if shards.recognise(folder):
        return shards.read(root, folder, split)
    if class_folders.recognise(folder):
        return class_folders.read(root, folder, split)
    raise ValueError(f"data {root}, split {split!r}: {_seen(folder)}; expected {EXPECTED}")


def _is_split(folder: Path) -> bool:
    if not folder.is_dir() or folder.name in ("annotations", "images"):
        return False
    if (folder / "nshards.txt").is_file() or shards.recognise(folder):
        return True
    return folder.name in ("train", "val", "valid", "dev", "test") and class_folders.recognise(
        folder
    )


def _seen(folder: Path) -> str:
    names = sorted(child.name + "/" * child.is_dir() for child in folder.iterdir())
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{folder} holds {', '.join(names[:8])}{more}" if names else f"{folder} is empty"
