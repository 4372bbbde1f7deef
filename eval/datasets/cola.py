"""Cola, multi-object setting (Ray et al. 2023): for each of two captions its picture is chosen.

A JSON list of [link to picture 1, caption 1, link to picture 2, caption 2], in the folder or in
data/; the pictures, called as the links end (2390970.jpg), in images/ or vg_gqa_images/. As in the
published measure only the choice of pictures counts.
"""

from pathlib import Path, PurePosixPath

from eval.datasets.dataset import EvalDataset
from eval.datasets.items import Comparison, Items
from eval.datasets.pictures import Pictures
from eval.datasets.published import as_dataset, choose, read_json

_START = 4096  # bytes


def recognise(folder: Path) -> bool:
    return bool(_files(folder))


def read(path: Path, split: str | None) -> EvalDataset:
    """Read all files, or one.

    Raises:
        FileNotFoundError: none of the pictures is there.
        ValueError: an unknown split, or an entry that is no such list.
    """
    pictures, items = Pictures(path, ("images", "vg_gqa_images")), Items()
    for file in choose(path, _files(path), split):
        for number, entry in enumerate(read_json(file)):
            if not _is_pair(entry):
                raise ValueError(
                    f"{file}, entry {number}: expected [picture, caption, picture, caption], got "
                    f"{entry!r:.80}"
                )
            one, other = (pictures.add(PurePosixPath(link).name) for link in (entry[0], entry[2]))
            items.add(f"{file.stem}/{number}", choices(one, entry[1], other, entry[3]))
    return as_dataset("cola", path, split, pictures, items)


def choices(one: int, of_one: str, other: int, of_other: str, kind: str = "") -> list[Comparison]:
    """For each of two texts, its picture against that of the other."""
    return [
        Comparison((one, of_one), (other, of_one), kind),
        Comparison((other, of_other), (one, of_other), kind),
    ]


def _is_pair(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 4 and all(isinstance(e, str) for e in entry)


def _files(folder: Path) -> list[Path]:
    """JSON files that are a list of lists of texts, from the first folder that has any."""
    for inner in (folder, folder / "data"):
        found = [file for file in sorted(inner.glob("*.json")) if _starts_so(file)]
        if found:
            return found
    return []


def _starts_so(file: Path) -> bool:
    with open(file, "rb") as opened:
        return b"".join(opened.read(_START).split()).startswith(b'[["')
