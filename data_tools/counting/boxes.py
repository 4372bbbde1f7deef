"""Boxes of objects: read from a file of annotations or detections, and kept as a sidecar.

A file is a table (.jsonl, .parquet) with one row a picture, or COCO's `instances` .json. A row
names its picture in `key`, `image`, `file_name` or `url`, and lists `objects`, each with `category`
or `label`, `bbox` [x, y, width, height] as COCO has it, and where it is a detection `score`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_tools.annotate import HEAD, Made, read_sidecar
from data_tools.counting.classes import canonical
from data_tools.samples import TEXTS, read_samples
from data_tools.tables import read_rows
from vlp.data.source import RawSample
from vlp.errors import InputError

SCHEMA = pa.schema(
    [
        *HEAD,
        ("labels", pa.list_(pa.string())),  # null for a picture that cannot be read
        ("boxes", pa.list_(pa.list_(pa.float32()))),  # x0, y0, x1, y1 in pixels
        ("scores", pa.list_(pa.float32())),  # each null where people drew the box
        ("crowd", pa.list_(pa.bool_())),  # whether a box stands for many that nobody counted
    ]
)
_NAMED = ("key", "image", "file_name", "url")
Size = tuple[float, float]  # width, height in pixels


@dataclass(frozen=True)
class Box:
    """One object: what it is and where."""

    label: str
    corners: tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels
    score: float | None = None  # None where people drew the box
    crowd: bool = False  # it stands for many that nobody counted

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.corners
        x0, y0, x1, y1 = self.corners
        if not (all(map(isfinite, self.corners)) and x0 <= x1 and y0 <= y1):
            raise ValueError(f"corners {self.corners}: expected x0 <= x1 and y0 <= y1")
        if self.score is not None and not 0 <= self.score <= 1:
            raise ValueError(f"score {self.score}: expected 0 to 1")


@dataclass(frozen=True)
class Picture:
    """The objects of one picture, in the pixels of its `size`, where that is known."""

    boxes: tuple[Box, ...]
    size: Size | None = None


@dataclass(frozen=True)
class BoxFile:
    """All pictures of a file, by every name that means only one of them."""

    pictures: Mapping[str, Picture]
    classes: tuple[str, ...]  # `canonical`
    sha256: str
    repeated: frozenset[str]  # names of several pictures

    def find(self, sample: RawSample) -> Picture | None:
        """The row of a sample: by its key, or by the `url` of its record.

        Raises:
            InputError: only a name is known that several rows share.
        """
        record = _record(sample)
        url = record.get("url") if isinstance(record.get("url"), str) else ""
        names = [sample.key, *((url, Path(url).name, Path(url).stem) if url else ())]
        found = next((self.pictures[name] for name in names if name in self.pictures), None)
        if found is None and (shared := self.repeated.intersection(names)):
            raise InputError(
                f"--boxes: several rows are named {min(shared)!r}, which is what sample "
                f"{sample.key!r} is called"
            )
        return found and _scaled(found, record)


@cache
def read_boxes(path: Path) -> BoxFile:
    """Every picture of a file.

    Raises:
        InputError: it is no such file, or a row is not what it has to be.
    """
    data = path.read_bytes()
    rows = _coco(path, data) if path.suffix.lower() == ".json" else _table(path)
    pictures: dict[str, Picture] = {}
    repeated: set[str] = set()
    labels: set[str] = set()
    for name, picture, classes in rows:
        labels.update(classes, (box.label for box in picture.boxes))
        for known in dict.fromkeys((name, Path(name).name, Path(name).stem)):
            if known in pictures:
                repeated.add(known)
            pictures[known] = picture
    if not pictures:
        raise InputError(f"--boxes {path}: no picture")
    for name in repeated:
        del pictures[name]
    digest = hashlib.sha256(data).hexdigest()
    return BoxFile(pictures, tuple(sorted(labels)), digest, frozenset(repeated))


def boxes_of_shard(shard: Path, path: Path) -> Made:
    """The sidecar of the samples of a shard that a file has boxes of."""
    file = read_boxes(path)
    made = Made([])
    rows: list[Mapping[str, Any]] = []
    for sample in read_samples(shard, TEXTS):
        picture = file.find(sample)
        made.counts["with boxes" if picture else "without"] += 1
        if picture is not None:
            rows.append(as_row(sample, picture.boxes))
    return Made(rows, made.counts)


def as_row(sample: RawSample, boxes: Sequence[Box] | None) -> Mapping[str, Any]:
    """A row of the sidecar; None for a picture that cannot be read."""
    some = boxes or ()
    found = {
        "labels": [box.label for box in some],
        "boxes": [list(box.corners) for box in some],
        "scores": [box.score for box in some],
        "crowd": [box.crowd for box in some],
    }
    if boxes is None:
        found = dict.fromkeys(found)
    return {"key": sample.key, "src_sha256": sample.src_sha256, **found}


def boxes_by_sample(shard: Path, name: str) -> dict[tuple[str, str], tuple[Box, ...] | None]:
    """(key, src_sha256) -> boxes, from a sidecar; `crowd` may be left out of it.

    Raises:
        InputError: no such sidecar, or it lacks columns, or lists of a row differ in length.
    """
    table = read_sidecar(shard, name)
    lacking = [column for column in SCHEMA.names[:5] if column not in table.column_names]
    if lacking:
        raise InputError(f"{shard}: the sidecar {name} lacks {', '.join(lacking)}")
    found: dict[tuple[str, str], tuple[Box, ...] | None] = {}
    for row in table.to_pylist():
        boxes = None
        if row["labels"] is not None:
            lists = [row["labels"], row["boxes"], row["scores"]]
            lists.append(row.get("crowd") or [False] * len(row["labels"]))
            try:
                boxes = tuple(
                    Box(canonical(label), tuple(corners), score, crowd)
                    for label, corners, score, crowd in zip(*lists, strict=True)
                )
            except (AttributeError, TypeError, ValueError):
                raise InputError(
                    f"{shard}: sidecar {name}: sample {row['key']!r}: expected as many boxes and "
                    "scores as labels, each box [x0, y0, x1, y1], each score null or from 0 to 1"
                ) from None
        found[row["key"], row["src_sha256"]] = boxes
    return found


def _table(path: Path) -> Iterator[tuple[str, Picture, Sequence[str]]]:
    if path.suffix.lower() not in (".jsonl", ".parquet"):
        raise InputError(f"--boxes {path}: expected .jsonl, .parquet, COCO's .json, or a sidecar")
    for row in read_rows(path):
        name = next((row.values[one] for one in _NAMED if row.values.get(one)), None)
        objects = row.values.get("objects")
        if not isinstance(name, str) or not isinstance(objects, list):
            raise InputError(
                f"{row.place}: expected a list `objects` and a name in {', '.join(_NAMED)}; "
                f"the fields are {', '.join(row.values)}"
            )
        boxes = tuple(_box(one, row.place) for one in objects)
        yield name, Picture(boxes, _given_size(row.values, row.place)), ()


def _coco(path: Path, data: bytes) -> Iterator[tuple[str, Picture, Sequence[str]]]:
    try:
        whole = json.loads(data)
        names = {one["id"]: str(one["name"]) for one in whole["categories"]}
        objects: dict[Any, list[Box]] = {one["id"]: [] for one in whole["images"]}
        for number, one in enumerate(whole["annotations"]):
            place = f"{path}, annotation {number}"
            named = one | {"category": names[one["category_id"]]}
            objects[one["image_id"]].append(_box(named, place))
        classes = [canonical(name) for name in names.values()]
        for one in whole["images"]:
            size = _given_size(one, f"{path}, image {one['id']}")
            yield one["file_name"], Picture(tuple(objects[one["id"]]), size), classes
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"--boxes {path}: expected COCO's instances, with images, annotations and categories "
            f"({type(error).__name__}: {error})"
        ) from None


def _box(one: Any, place: str) -> Box:  # noqa: ANN401 (what a file holds)
    try:
        label = one.get("category") or one["label"]
        if not label or not isinstance(one["bbox"], list):
            raise ValueError("no label, or no list")
        x, y, width, height = map(float, one["bbox"])
        score = one.get("score")
        corners = (x, y, x + width, y + height)
        crowd = bool(one.get("iscrowd", False))
        return Box(canonical(label), corners, None if score is None else float(score), crowd)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(
            f"{place}: expected an object with `category` or `label`, `bbox` [x, y, width, height] "
            f"in pixels, and no `score` or one from 0 to 1, got {one!r:.80}"
        ) from None


def _given_size(values: Mapping[str, Any], place: str) -> Size | None:
    size = _size(values)
    if size is None and (values.get("width") or values.get("height")):
        raise InputError(f"{place}: expected `width` and `height` in pixels, or neither")
    return size


def _size(values: Mapping[str, Any]) -> Size | None:
    width, height = values.get("width"), values.get("height")
    if not isinstance(width, int | float) or not isinstance(height, int | float):
        return None
    return (float(width), float(height)) if width > 0 and height > 0 else None


def _record(sample: RawSample) -> Mapping[str, Any]:
    try:
        record = json.loads(sample.members.get("json", b"{}"))
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _scaled(picture: Picture, record: Mapping[str, Any]) -> Picture:
    """The boxes in the pixels of the picture that the shard holds."""
    there = _size(record)
    if picture.size is None or there is None or there == picture.size:
        return picture
    x, y = there[0] / picture.size[0], there[1] / picture.size[1]
    boxes = tuple(
        Box(box.label, (x0 * x, y0 * y, x1 * x, y1 * y), box.score, box.crowd)
        for box in picture.boxes
        for x0, y0, x1, y1 in [box.corners]
    )
    return Picture(boxes, there)
