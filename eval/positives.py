"""What else is true of a query in retrieval: a ground truth beside the own captions.

A JSON file {"i2t": {picture: [captions]}, "t2i": {caption: [pictures]}}; one of the two is enough.
For COCO the package eccv_caption has them as *_image_to_caption.json and *_caption_to_image.json:
those of ECCV Caption (Chun et al. 2022, arXiv 2204.03359) and of CxC (Parekh et al. 2021, arXiv
2004.15020).

Captions are named by their ids in the data; pictures by their keys, by the names of their files
without folder and suffix, or by the number in a COCO file name (COCO_val2014_000000391895).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from eval.captions import digest
from eval.datasets import EvalDataset
from eval.datasets.published import read_json
from eval.spec import EvalSpec

Integers = NDArray[np.int64]
Table = dict[str, list[str]]  # of each query what is true of it, by names
_WAYS = ("i2t", "t2i")
_COCO = re.compile(r"(?:COCO_[a-z]+\d{4}_)?(\d{12})")
_SEVERAL = -1


@dataclass(frozen=True, kw_only=True)
class Positives:
    """One way: the queries of the file and what is true of them, as rows of the data.

    Captions are numbered through, picture by picture.
    """

    queries: Integers  # [Q]
    answers: list[Integers]  # [Q][R], one or more each


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """What a file says of a data set."""

    ways: dict[str, Positives]  # i2t, t2i
    left_out: int  # answers that the data do not have, and those of queries that are left out
    sha: str

    @property
    def counts(self) -> dict[str, int | None]:
        queries = {f"queries_{way}": len(own.queries) for way, own in self.ways.items()}
        return {**queries, "positives_left_out": self.left_out}


def find_positives(dataset: EvalDataset, spec: EvalSpec, *, whole: bool) -> GroundTruth | None:
    """The ground truth that is asked for, if any.

    Answers that the data do not have are left out and counted.

    Args:
        dataset: with ids of its captions.
        spec: whose `positives` name the file.
        whole: whether all queries must be there, with an answer each; else those that are not are
            left out as well.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no ground truth, it names what the data do not have, or the data do not
            name their captions.
    """
    if spec.positives is None:
        return None
    path = Path(spec.positives).expanduser()
    tables = _read(path)
    captions = _by_name((name,) for name in _caption_ids(dataset, spec))
    pictures = _by_name(map(_picture_names, dataset.keys))
    ways, left_out = {}, 0
    for way, table in tables.items():
        names = (pictures, captions) if way == "i2t" else (captions, pictures)
        try:
            ways[way], missing = _placed(table, *names, whole=whole)
        except ValueError as error:
            raise ValueError(f"positives {path}, {way}, data {dataset.path}: {error}") from None
        left_out += missing
    return GroundTruth(ways=ways, left_out=left_out, sha=digest(tables))


def _read(path: Path) -> dict[str, Table]:
    """The tables of a file, in the order of `_WAYS`."""
    if not path.is_file():
        raise FileNotFoundError(f"positives {path}: no such file")
    content = read_json(path)
    if not isinstance(content, dict) or not content or not content.keys() <= set(_WAYS):
        raise ValueError(f"positives {path}: expected i2t and t2i, got {content!r:.60}")
    return {way: _table(path, way, content[way]) for way in _WAYS if way in content}


def _table(path: Path, way: str, content: object) -> Table:
    where = f"positives {path}, {way}"
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{where}: expected queries with answers, got {content!r:.60}")
    for query, answers in content.items():
        if not isinstance(answers, list) or not answers or not all(map(_is_id, answers)):
            raise ValueError(f"{where}, {query!r}: expected a list of ids, got {answers!r:.60}")
    return {query: list(map(str, answers)) for query, answers in content.items()}


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _caption_ids(dataset: EvalDataset, spec: EvalSpec) -> list[str]:
    """One a caption, numbered through."""
    if spec.captions is not None:
        raise ValueError(
            f"positives {spec.positives!r}: the texts of the sidecar {spec.captions!r} have no ids"
        )
    if dataset.caption_ids is None:
        raise ValueError(
            f"positives {spec.positives!r}: data {dataset.path} ({dataset.layout}) has no ids of "
            "its captions; a table of pairs has them, as `caption_ids`, or as `id` of rows of one "
            "caption"
        )
    return [name for own in dataset.caption_ids for name in own]


def _picture_names(key: str) -> tuple[str, ...]:
    stem = PurePosixPath(key).stem
    of_coco = _COCO.fullmatch(stem)
    return (key, stem, str(int(of_coco[1]))) if of_coco else (key, stem)


def _by_name(names: Iterable[tuple[str, ...]]) -> dict[str, int]:
    """{name: row}, `_SEVERAL` for a name of several rows."""
    found: dict[str, int] = {}
    for row, own in enumerate(names):
        for name in own:
            found[name] = row if found.get(name, row) == row else _SEVERAL
    return found


def _placed(
    table: Table, queries: Mapping[str, int], gallery: Mapping[str, int], *, whole: bool
) -> tuple[Positives, int]:
    """What is there, and how many answers are left out."""
    rows, answers, left_out = [], [], 0
    absent: list[str] = []
    for query, names in table.items():
        there = [_row(gallery, name) for name in names if name in gallery]
        if query in queries and there:
            rows.append(_row(queries, query))
            answers.append(np.unique(there))
            left_out += sum(name not in gallery for name in names)
        else:
            absent.append(query)
            left_out += len(names)
    if not rows or (whole and absent):
        raise ValueError(
            f"{len(absent)} of {len(table)} queries are not there, or nothing that is true of "
            f"them, the first: {absent[0]!r} with {table[absent[0]][0]!r}; there are "
            f"{_some(queries)} with {_some(gallery)}"
        )
    return Positives(queries=np.array(rows, dtype=np.int64), answers=answers), left_out


def _row(names: Mapping[str, int], name: str) -> int:
    if names[name] == _SEVERAL:
        raise ValueError(f"{name!r} is the name of several")
    return names[name]


def _some(names: Mapping[str, int]) -> str:
    return ", ".join([*map(repr, list(names)[:2]), "..."])
