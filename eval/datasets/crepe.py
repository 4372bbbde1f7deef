"""CREPE (Ma et al. 2023): the caption of a part of a picture against several hard negatives.

prod_vg_hard_negs_{atom,swap,negate}_complexity_N.csv and syst_vg_hard_negs_*.csv, in the folder or
in the sub-folders of the release; columns image_id, caption, x, y, width, height and the negatives
as a Python list: hard_negs, or valid_hard_negs_atom and valid_hard_negs_comp (systematicity, which
means something only for models that were trained on the data that the file names). The pictures
IMAGE_ID.jpg of Visual Genome in images/, VG_100K/ or VG_100K_2/. The kind of an item is the sort of
its negatives with the complexity or the file; a split is one file. `acc` is the published R@1.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from eval.datasets.dataset import EvalDataset
from eval.datasets.items import Items
from eval.datasets.pictures import Box, Pictures
from eval.datasets.published import as_dataset, choose, entries, find, number, text
from vlp.data.tables import Row

_SORTS = ("atom", "swap", "negate")
_FOLDERS = ("", "syst_hard_negatives", *_SORTS)
_MARK = "_vg_hard_negs_"
_SYSTEMATIC = "valid_hard_negs_"  # of a column, before the sort


def recognise(folder: Path) -> bool:
    return bool(_files(folder))


def read(path: Path, split: str | None) -> EvalDataset:
    """Read all files, or one.

    Raises:
        FileNotFoundError: none of the pictures is there.
        ValueError: an unknown split, or a row without what it needs.
    """
    pictures, items = Pictures(path, ("images", "VG_100K", "VG_100K_2")), Items()
    for file in choose(path, _files(path), split):
        for name, row in entries(file):
            picture = pictures.add(f"{number(row, 'image_id'):.0f}.jpg", box=_box(row))
            for kind, negatives in _negatives(row, file.stem.partition(_MARK)[2]):
                items.choose_text(
                    f"{kind}/{name}", picture, text(row, "caption"), [(kind, n) for n in negatives]
                )
    return as_dataset("crepe", path, split, pictures, items)


def _box(row: Row) -> Box:
    x, y, width, height = (number(row, name) for name in ("x", "y", "width", "height"))
    return x, y, width, height


def _negatives(row: Row, about: str) -> Iterator[tuple[str, list[str]]]:
    """(kind, texts) of each column of negatives; a row may have none of one sort."""
    columns = [name for name in row.values if name == "hard_negs" or name.startswith(_SYSTEMATIC)]
    if not columns:
        raise ValueError(f"{row.place}: no column hard_negs or {_SYSTEMATIC}*")
    for column in columns:
        sort = column.removeprefix(_SYSTEMATIC)
        kind = about.replace("_complexity", "") if column == "hard_negs" else f"{sort}_{about}"
        yield kind, _listed(row, column)


def _listed(row: Row, column: str) -> list[str]:
    value = row.values[column]
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, list | tuple) or not all(isinstance(entry, str) for entry in found):
        raise ValueError(f"{row.place}: expected a list of texts in {column!r}, got {value!r:.60}")
    return [entry for entry in found if entry.strip()]


def _files(folder: Path) -> list[Path]:
    pattern = f"*{_MARK}*.csv"
    found = []
    for release in ("", "prod_hard_negatives/", "data/", "data/prod_hard_negatives/"):
        for inner in _FOLDERS:
            found += find(folder, (f"{release}{inner}",), pattern, "image_id", "caption")
    return list(dict.fromkeys(found))
