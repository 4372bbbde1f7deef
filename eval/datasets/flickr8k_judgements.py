"""Flickr8k's ratings of (picture, caption) by people: how well the caption describes the picture.

The folder holds ExpertAnnotations.txt (picture, caption, three ratings from 1 to 4) or
CrowdFlowerAnnotations.txt (picture, caption, share of yes, yes, no), with tabs in between; a
caption is named PICTURE#K, K from 0. There or in the folder above are the captions, captions.tsv
(image, ..., caption) or Flickr8k.token.txt, and the pictures, images/, Flicker8k_Dataset/ or
Flickr8k_Dataset/.

Splits: `expert` (the default) and `crowd`. As in CLIPScore (Hessel et al. 2021), pairs of a picture
with a caption of its own are left out of `expert`, where they were references.
"""

import csv
from pathlib import Path

import numpy as np

from eval.datasets.dataset import EvalDataset, Place
from eval.datasets.selection import Judgements

SPLITS = {"expert": "ExpertAnnotations.txt", "crowd": "CrowdFlowerAnnotations.txt"}
_PICTURES = ("images", "Flicker8k_Dataset", "Flickr8k_Dataset")
Row = tuple[str, str, list[float]]  # picture, caption, ratings


def recognise(folder: Path) -> bool:
    return any((folder / name).is_file() for name in SPLITS.values())


def read(path: Path, split: str | None) -> EvalDataset:
    """Read one of the two files.

    Raises:
        FileNotFoundError: the file of the split, the captions or the pictures are missing.
        ValueError: an unknown split, or a line that is no rating.
    """
    split = split or "expert"
    if split not in SPLITS:
        raise ValueError(f"data {path}: split {split!r}: choices are {', '.join(SPLITS)}")
    file = path / SPLITS[split]
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing")
    captions = _captions(path)
    rows = _rows(file, split, captions)
    if not rows:
        raise ValueError(f"{file}: no rating in it")
    pictures = sorted({picture for picture, _, _ in rows})
    texts = sorted({captions[name] for _, name, _ in rows})
    place = {name: i for i, name in enumerate(pictures)}
    text_place = {text: i for i, text in enumerate(texts)}
    folder = _pictures(path)
    return EvalDataset(
        name="flickr8k_judgements",
        path=path,
        split=split,
        layout="flickr8k_judgements",
        keys=pictures,
        places=[_place(folder / name) for name in pictures],
        judgements=Judgements(
            texts=texts,
            image=np.array([place[picture] for picture, _, _ in rows], dtype=np.int64),
            text=np.array([text_place[captions[name]] for _, name, _ in rows], dtype=np.int64),
            ratings=np.array([ratings for _, _, ratings in rows]),
            variant="c" if split == "expert" else "b",
        ),
    )


def _rows(file: Path, split: str, captions: dict[str, str]) -> list[Row]:
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split("\t")
        try:
            picture, name, *numbers = fields
            ratings = [float(value) for value in numbers]
        except ValueError:
            ratings = []
        if len(ratings) != 3:
            raise ValueError(
                f"{file}, line {number}: expected a picture, a caption and three numbers, "
                f"tab-separated, got {line[:80]!r}"
            )
        if name not in captions:
            raise ValueError(f"{file}, line {number}: there is no caption {name!r}")
        if split == "crowd":
            found.append((picture, name, ratings[:1]))
        elif name.partition("#")[0] != picture:
            found.append((picture, name, ratings))
    return found


def _captions(path: Path) -> dict[str, str]:
    """{PICTURE#K: caption}"""
    table, tokens = _beside(path, "captions.tsv"), _beside(path, "Flickr8k.token.txt")
    found: dict[str, str] = {}
    if table.is_file():
        seen: dict[str, int] = {}
        with open(table, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                if not row.get("image") or row.get("caption") is None:
                    raise ValueError(f"{table}: expected the columns image and caption")
                picture = Path(row["image"]).name
                found[f"{picture}#{seen.get(picture, 0)}"] = row["caption"]
                seen[picture] = seen.get(picture, 0) + 1
        return found
    if tokens.is_file():
        for line in tokens.read_text(encoding="utf-8").splitlines():
            name, _, caption = line.partition("\t")
            found[name] = caption
        return found
    raise FileNotFoundError(f"{path} has neither {table.name} nor {tokens.name} with the captions")


def _beside(path: Path, name: str) -> Path:
    """In the folder, or in the one above."""
    return path / name if (path / name).exists() else path.parent / name


def _pictures(path: Path) -> Path:
    for name in _PICTURES:
        if (folder := _beside(path, name)).is_dir():
            return folder
    raise FileNotFoundError(
        f"neither {path} nor the folder above has pictures in {', '.join(_PICTURES)}"
    )


def _place(file: Path) -> Place:
    return Place(str(file), 0, file.stat().st_size if file.is_file() else -1)
