"""Sets with one long caption a picture, in the layouts in which they are published.

Urban1k: image/N.jpg, caption/N.txt (first line). DOCCI: docci_descriptions.jsonlines (example_id,
split, image_file, description), images/. ShareGPT4V: share-captioner_coco_lcs_sam_1246k_1107.json
(a list of image, conversations), of which Long-CLIP takes the first 1,000 as test; the pictures lie
under the folder as the file says. Everything else can be had as a JSONL of image and caption.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eval.datasets.dataset import EvalDataset, Place

DOCCI = "docci_descriptions.jsonlines"
SHAREGPT4V = "share-captioner_coco_lcs_sam_1246k_1107.json"
_SHAREGPT4V_TEST = 1000  # Long-CLIP, eval/retrieval/ShareGPT4V.py: the first of the file
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
Pair = tuple[str, Path, str]  # key, picture, caption


def recognise(folder: Path) -> bool:
    urban = (folder / "image").is_dir() and (folder / "caption").is_dir()
    return urban or any((folder / name).is_file() for name in (DOCCI, SHAREGPT4V))


def read(path: Path, split: str | None) -> EvalDataset:
    """Read one of the three.

    Raises:
        FileNotFoundError: a caption without a picture.
        ValueError: a record without what it needs, or no sample at all.
    """
    if (path / DOCCI).is_file():
        split = split or "test"
        pairs = list(_docci(path, split))
    else:
        if split not in (None, "test"):
            raise ValueError(f"data {path} has no split {split!r}, only its test set")
        split = None
        pairs = list(_sharegpt4v(path) if (path / SHAREGPT4V).is_file() else _urban(path))
    if not pairs:
        raise ValueError(f"data {path}, split {split!r}: no sample in it")
    return EvalDataset(
        name=path.resolve().name,
        path=path,
        split=split,
        layout="long_captions",
        keys=[key for key, _, _ in pairs],
        places=[_place(file) for _, file, _ in pairs],
        captions=[[caption] for _, _, caption in pairs],
    )


def _urban(path: Path) -> Iterator[Pair]:
    files = sorted((path / "caption").glob("*.txt"), key=lambda file: (len(file.stem), file.stem))
    for file in files:
        lines = file.read_text(encoding="utf-8").strip().splitlines()
        pictures = [path / "image" / f"{file.stem}{suffix}" for suffix in _SUFFIXES]
        found = [picture for picture in pictures if picture.is_file()]
        if not lines or not found:
            what = "is empty" if not lines else f"has no picture image/{file.stem}{_SUFFIXES}"
            raise ValueError(f"{file} {what}")
        yield file.stem, found[0], lines[0]


def _docci(path: Path, split: str) -> Iterator[Pair]:
    file = path / DOCCI
    splits = set()
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        record = _record(line, f"{file}, line {number}")
        wanted = ("example_id", "split", "image_file", "description")
        missing = [name for name in wanted if not isinstance(record.get(name), str)]
        if missing:
            raise ValueError(f"{file}, line {number}: no {', '.join(missing)}")
        splits.add(record["split"])
        if record["split"] == split:
            picture = path / "images" / record["image_file"]
            yield record["example_id"], picture, record["description"]
    if split not in splits:
        raise ValueError(f"{file}: split {split!r}: choices are {', '.join(sorted(splits))}")


def _sharegpt4v(path: Path) -> Iterator[Pair]:
    file = path / SHAREGPT4V
    entries = json.loads(file.read_text(encoding="utf-8"))
    for number, entry in enumerate(entries[:_SHAREGPT4V_TEST]):
        try:
            image, caption = entry["image"], entry["conversations"][1]["value"]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"{file}, entry {number}: no {error}") from None
        yield image, path / image, caption.replace("\n", " ")


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is no JSON: {error}") from None
    return record if isinstance(record, dict) else {}


def _place(file: Path) -> Place:
    return Place(str(file), 0, file.stat().st_size if file.is_file() else -1)
