"""SugarCrepe (Hsieh et al. 2023): the caption of a COCO photo against one near miss.

add_att.json ... swap_obj.json, in the folder, in sugar_crepe/ or in data/: {number: {filename,
caption, negative_caption}}. The photos (COCO val2017) in images/ or val2017/. The kind of an item
is its file; a split is one file.
"""

from pathlib import Path

from eval.datasets.dataset import EvalDataset
from eval.datasets.items import Items
from eval.datasets.pictures import Pictures
from eval.datasets.published import as_dataset, choose, entries, find, text


def recognise(folder: Path) -> bool:
    return bool(_files(folder))


def read(path: Path, split: str | None) -> EvalDataset:
    """Read all files, or one.

    Raises:
        FileNotFoundError: none of the photos is there.
        ValueError: an unknown split, or an entry without what it needs.
    """
    pictures, items = Pictures(path, ("images", "val2017")), Items()
    for file in choose(path, _files(path), split):
        for name, row in entries(file):
            items.choose_text(
                f"{file.stem}/{name}",
                pictures.add(text(row, "filename")),
                text(row, "caption"),
                [(file.stem, text(row, "negative_caption"))],
            )
    return as_dataset("sugar_crepe", path, split, pictures, items)


def _files(folder: Path) -> list[Path]:
    return find(folder, ("", "sugar_crepe", "data"), "*.json", "filename", "negative_caption")
