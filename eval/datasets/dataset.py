"""An evaluation set in memory: keys, labels, captions, and where the pictures lie."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eval.datasets.selection import Judgements, Selection
from vlp.data.images import UnreadableImageError, decode
from vlp.data.sidecars import Table


@dataclass(frozen=True)
class Place:
    """Where the bytes of a picture are: a whole file, or a range of one."""

    file: str
    offset: int = 0  # bytes
    size: int = -1  # bytes, -1 to the end of the file
    box: tuple[float, float, float, float] | None = None  # x, y, width, height of what is shown

    def read(self) -> bytes:
        with open(self.file, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True)
class Source:
    """Where a sample of indexed shards comes from, by which sidecars know it."""

    shard: str
    key: str
    src_sha256: str  # of the source caption


@dataclass(frozen=True, kw_only=True)
class EvalDataset:
    """Pictures with labels, captions or both; a picture is read when it is asked for."""

    name: str
    path: Path  # as it was opened
    split: str | None  # None where the data set has no splits
    layout: str
    keys: list[str]  # [n], unique
    places: list[Place | None]  # [n], None where a sample has no picture
    labels: NDArray[np.int64] | None = None  # [n]
    captions: list[list[str]] | None = None  # [n], at least one each
    classnames: list[str] | None = None  # [C], line i is label i
    templates: list[str] | None = None
    sources: list[Source] | None = None  # [n], where samples may have sidecars
    numbers: list[int | None] | None = None  # [n], `number` or `count` of the samples' records
    label_sets: NDArray[np.bool_] | None = None  # [n, C], where a picture has several labels
    # {what: [n]} groups whose scores are compared (region, income), -1 where unknown
    groups: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    caption_ids: list[list[str]] | None = None  # [n], one a caption, as other files name them
    selection: Selection | None = None
    judgements: Judgements | None = None
    # sidecars that were read, by path and columns; parts of the data set share them
    tables: dict[tuple[Path, tuple[str, ...]], Table] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __len__(self) -> int:
        return len(self.keys)

    def item(self, index: int) -> tuple[str, Image.Image]:
        """(key, RGB picture).

        Raises:
            UnreadableImageError: no picture, not readable as one, or the file is gone.
        """
        place = self.places[index]
        if place is None:
            raise UnreadableImageError("the sample has no picture")
        try:
            data = place.read()
        except OSError as error:
            raise UnreadableImageError(f"{place.file}: {error.strerror}") from error
        image = decode(data).image
        if place.box is not None:
            x, y, width, height = place.box
            image = image.crop((round(x), round(y), round(x + width), round(y + height)))
        return self.keys[index], image

    def subset(self, positions: Sequence[int]) -> "EvalDataset":
        """The samples at `positions`, in that order; of `selection`, the items that are whole."""
        rows = list(positions)
        n = len(self)
        return replace(
            self,
            keys=[self.keys[i] for i in rows],
            places=[self.places[i] for i in rows],
            labels=None if self.labels is None else self.labels[rows],
            captions=None if self.captions is None else [self.captions[i] for i in rows],
            sources=None if self.sources is None else [self.sources[i] for i in rows],
            numbers=None if self.numbers is None else [self.numbers[i] for i in rows],
            label_sets=None if self.label_sets is None else self.label_sets[rows],
            groups={name: values[rows] for name, values in self.groups.items()},
            caption_ids=self.caption_ids and [self.caption_ids[i] for i in rows],
            selection=self.selection and self.selection.subset(rows, n),
            judgements=self.judgements and self.judgements.subset(rows, n),
        )

    def limited(self, limit: int | None) -> "EvalDataset":
        """At most `limit` samples, evenly spaced, since folders and tars are sorted by class."""
        if limit is None or limit >= len(self):
            return self
        if self.selection is not None and self.captions is None:
            return self.subset(self.selection.limited(limit))  # whole items
        return self.subset([i * len(self) // limit for i in range(limit)])

    @property
    def fingerprint(self) -> str:
        """sha256 of keys, picture sizes in bytes, labels, captions, class names and the rest."""
        sizes = [place and place.size for place in self.places]
        labels = None if self.labels is None else self.labels.tolist()
        content: list[object] = [self.keys, sizes, labels, self.captions, self.classnames]
        if self.label_sets is not None:
            content.append(self.label_sets.astype(int).tolist())
        if self.groups:
            content.append({name: values.tolist() for name, values in self.groups.items()})
        if self.selection is not None:
            s = self.selection
            content += [s.texts, s.right.tolist(), s.wrong.tolist(), s.item.tolist(), s.kinds]
        if self.judgements is not None:
            j = self.judgements
            content += [j.texts, j.image.tolist(), j.text.tolist(), j.ratings.tolist()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def pictures_key(self) -> str:
        """sha256 of where the pictures lie, with the times at which their files were changed.

        What features are kept under: a picture that was replaced is encoded anew.
        """
        times = {place.file: _changed(place.file) for place in self.places if place}
        places = [
            place and (place.file, place.offset, place.size, place.box, times[place.file])
            for place in self.places
        ]
        return hashlib.sha256(json.dumps([self.keys, places]).encode()).hexdigest()

    @property
    def holds(self) -> str:
        """What the samples carry, for messages."""
        found: list[tuple[str, object]] = [
            ("labels", self.labels),
            ("label sets", self.label_sets),
            ("captions", self.captions),
            ("choices", self.selection),
            ("judgements", self.judgements),
        ]
        return " and ".join(name for name, value in found if value is not None) or "pictures only"


def _changed(file: str) -> int | None:
    """When a file was last changed, in nanoseconds; None where there is none."""
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return None


def unique_keys(keys: list[str], shards: list[str]) -> list[str]:
    """Keys that are numbered anew in every shard, told apart by the shard's name."""
    if len(set(keys)) == len(keys):
        return keys
    return [f"{Path(shard).stem}/{key}" for key, shard in zip(keys, shards, strict=True)]


def read_lines(path: Path) -> list[str] | None:
    """The stripped, non-empty lines of a UTF-8 text file, or None when there is no such file.

    Raises:
        ValueError: not UTF-8, or no line at all.
    """
    lines = read_classnames(path)
    return None if lines is None else [line for line in lines if line]


def read_classnames(path: Path) -> list[str] | None:
    """As `read_lines`, but a blank line between others counts, as line i is label i."""
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from None
    if not text.strip():
        raise ValueError(f"{path} is empty")
    return [line.strip() for line in text.rstrip().splitlines()]


def beside(
    path: Path, folder: Path, name: str, read: Callable[[Path], list[str] | None]
) -> list[str] | None:
    """A text file in the folder of a split, or beside it in the data set at `path`.

    What lies above `path` belongs to something else and is never read.
    """
    return read(folder / name) or read(path / name)
