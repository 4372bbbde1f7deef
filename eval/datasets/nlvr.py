"""NLVR (Suhr et al. 2017): a statement is true of some drawn scenes and false of others.

SPLIT/SPLIT.json (lines of sentence, identifier, directory, label) with the pictures in
SPLIT/images/DIRECTORY/, of which the first of six permutations is used, or flat: statements.jsonl
(image, sentence, label, split) with paths of pictures below the folder. The split is `test` by
default.

The same statement is judged of several scenes. Every scene of which it is true is an item: it must
score higher than each scene of the same statement of which it is false. Statements that are true of
all their scenes, or of none, leave nothing to compare; their scenes are left out and counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from eval.datasets.dataset import EvalDataset
from eval.datasets.items import Items
from eval.datasets.pictures import Pictures
from eval.datasets.published import as_dataset, text
from vlp.data.tables import Row, read_json_lines, read_rows

_FLAT = "statements.jsonl"
_SPLITS = ("train", "dev", "test")
_DEFAULT = "test"


@dataclass(frozen=True)
class Statement:
    """A sentence about one scene."""

    pictures: tuple[str, str]  # where the scene may lie, first what it is called
    sentence: str
    true: bool


def recognise(folder: Path) -> bool:
    return (folder / _FLAT).is_file() or bool(_splits(folder))


def read(path: Path, split: str | None) -> EvalDataset:
    """Read one split.

    Raises:
        FileNotFoundError: none of the pictures is there.
        ValueError: an unknown split, or a statement without what it needs.
    """
    split = split or _DEFAULT
    flat = (path / _FLAT).is_file()
    statements = _flat(path, split) if flat else _published(path, split)
    by_sentence: dict[str, tuple[list[Statement], list[Statement]]] = {}
    for statement in statements:
        false_and_true = by_sentence.setdefault(statement.sentence, ([], []))
        false_and_true[statement.true].append(statement)
    pictures, items = Pictures(path, ("images",) if flat else (f"{split}/images",)), Items()
    for sentence, (false, true) in by_sentence.items():
        if not (false and true):
            items.left_out += len(true)
            continue
        wrong = [pictures.add(*other.pictures) for other in false]
        for one in true:
            items.choose_image(one.pictures[0], sentence, pictures.add(*one.pictures), wrong)
    return as_dataset("nlvr", path, split, pictures, items)


def _flat(path: Path, split: str) -> list[Statement]:
    rows = list(read_rows(path / _FLAT))
    splits = [text(row, "split") for row in rows]
    _check_split(path, split, sorted(set(splits)))
    return [
        Statement((image, PurePosixPath(image).name), text(row, "sentence"), _is_true(row))
        for row, own in zip(rows, splits, strict=True)
        if own == split
        for image in (text(row, "image"),)
    ]


def _published(path: Path, split: str) -> list[Statement]:
    splits = _splits(path)
    _check_split(path, split, splits)
    found = []
    for row in read_json_lines(path / split / f"{split}.json"):
        picture = f"{split}-{text(row, 'identifier')}-0.png"
        pictures = (f"{text(row, 'directory')}/{picture}", picture)
        found.append(Statement(pictures, text(row, "sentence"), _is_true(row)))
    return found


def _is_true(row: Row) -> bool:
    label = row.values.get("label")
    if str(label).lower() not in ("true", "false"):
        raise ValueError(f"{row.place}: expected true or false in 'label', got {label!r:.60}")
    return str(label).lower() == "true"


def _splits(folder: Path) -> list[str]:
    return [name for name in _SPLITS if (folder / name / f"{name}.json").is_file()]


def _check_split(path: Path, split: str, splits: Sequence[str]) -> None:
    if split not in splits:
        choices = ", ".join(splits)
        raise ValueError(f"data {path} has no split {split!r}; choices of --split are {choices}")
