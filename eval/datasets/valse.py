"""VALSE (Parcalabescu et al. 2022): the caption of a picture against its foil, in several pieces.

existence.json, plurals.json ..., in the folder or in data/: {name: {image_file, caption, foil,
dataset, mturk: {caption: votes, ...}}}. Only items of which two of three people preferred the
caption are valid; the others are left out and counted. The pictures in images/DATASET/ or images/.
The kind of an item is its file, and the published score is the mean over the files: `macro_acc`. A
split is one file.
"""

from pathlib import Path

from eval.datasets.dataset import EvalDataset
from eval.datasets.items import Items
from eval.datasets.pictures import Pictures
from eval.datasets.published import as_dataset, choose, entries, find, number, text
from vlp.data.tables import Row

_VOTES = 2


def recognise(folder: Path) -> bool:
    return bool(_files(folder))


def read(path: Path, split: str | None) -> EvalDataset:
    """Read all files, or one.

    Raises:
        FileNotFoundError: none of the pictures is there.
        ValueError: an unknown split, or an entry without what it needs.
    """
    pictures, items = Pictures(path, ("images",)), Items()
    for file in choose(path, _files(path), split):
        for name, row in entries(file):
            if _votes(row) < _VOTES:
                items.left_out += 1
                continue
            image = text(row, "image_file")
            picture = pictures.add(f"{text(row, 'dataset')}/{image}", image)
            foil = (file.stem, text(row, "foil"))
            items.choose_text(f"{file.stem}/{name}", picture, text(row, "caption"), [foil])
    return as_dataset("valse", path, split, pictures, items)


def _votes(row: Row) -> float:
    votes = row.values.get("mturk")
    return number(Row(f"{row.place}, mturk", votes if isinstance(votes, dict) else {}), "caption")


def _files(folder: Path) -> list[Path]:
    return find(folder, ("", "data"), "*.json", "image_file", "foil", "mturk")
