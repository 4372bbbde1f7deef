"""Winoground (Thrush et al. 2022) and EqBen (Wang et al. 2023): two captions, two pictures.

Winoground: examples.jsonl, in the folder or in data/ (id, image_0, image_1, caption_0, caption_1,
collapsed_tag, ...), pictures NAME.png in images/ or data/images/; the kind of an item is its
collapsed_tag. EqBen: a JSON list of image0, image1, caption0, caption1, as its subset has it, and
pictures in images/ or image_subset/; the kind is `dataset`, or the first folder of the path. Frames
that are no pictures (.npy of YouCook2) cannot be read: their items are left out and counted.

Text score: each picture prefers its caption. Image score: each caption prefers its picture.
"""

from pathlib import Path, PurePosixPath

from eval.datasets.dataset import EvalDataset
from eval.datasets.items import Comparison, Items
from eval.datasets.pictures import Pictures
from eval.datasets.published import as_dataset, choose, entries, find, text
from vlp.data.tables import Row

_FOLDERS = ("images", "data/images", "image_subset")


def recognise(folder: Path) -> bool:
    return bool(_winoground(folder) or _eqben(folder))


def read(path: Path, split: str | None) -> EvalDataset:
    """Read either of the two.

    Raises:
        FileNotFoundError: none of the pictures is there.
        ValueError: an unknown split, or an example without what it needs.
    """
    winoground = _winoground(path)
    files = choose(path, winoground or _eqben(path), split)
    pictures, items = Pictures(path, _FOLDERS), Items()
    for file in files:
        for number, row in entries(file):
            images = [text(row, f"image_{k}", f"image{k}") for k in (0, 1)]
            captions = [text(row, f"caption_{k}", f"caption{k}") for k in (0, 1)]
            places = [pictures.add(name if _has_suffix(name) else f"{name}.png") for name in images]
            name = str(row.values.get("id", number))
            items.add(
                name if len(files) == 1 else f"{file.stem}/{name}",
                crosswise(places, captions, _kind(row, images[0])),
            )
    return as_dataset("winoground" if winoground else "eqben", path, split, pictures, items)


def crosswise(pictures: list[int], captions: list[str], kind: str) -> list[Comparison]:
    """The four comparisons of picture k with caption k, for k of 0 and 1."""
    found = []
    for k, other in ((0, 1), (1, 0)):
        right = (pictures[k], captions[k])
        found.append(Comparison(right, (pictures[k], captions[other]), kind))
        found.append(Comparison(right, (pictures[other], captions[k]), kind))
    return found


def _kind(row: Row, image: str) -> str:
    for name in ("collapsed_tag", "dataset"):
        if isinstance(row.values.get(name), str):
            return str(row.values[name]).replace(" ", "_")
    folders = PurePosixPath(image).parts[:-1]
    return folders[0] if folders else ""


def _has_suffix(name: str) -> bool:
    return PurePosixPath(name).suffix != ""


def _winoground(folder: Path) -> list[Path]:
    return find(folder, ("", "data"), "*.jsonl", "image_0", "image_1", "caption_0", "caption_1")


def _eqben(folder: Path) -> list[Path]:
    return find(folder, ("",), "*.json", "image0", "image1", "caption0", "caption1")
