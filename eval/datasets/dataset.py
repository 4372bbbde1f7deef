"""An evaluation set in memory: keys, labels, captions, and where the pictures lie."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlp.data.images import UnreadableImageError, decode
from vlp.data.sidecars import Table


@dataclass(frozen=True)
class Place:
    """Where the bytes of a picture are: a whole file, or a range of one."""

    file: str
    offset: int = 0  # bytes
    size: int = -1  # bytes, -1 to the end of the file

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
        return self.keys[index], decode(data).image

    def subset(self, positions: Sequence[int]) -> "EvalDataset":
        """The samples at `positions`, in that order."""
        rows = list(positions)
        return replace(
            self,
            keys=[self.keys[i] for i in rows],
            places=[self.places[i] for i in rows],
            labels=None if self.labels is None else self.labels[rows],
            captions=None if self.captions is None else [self.captions[i] for i in rows],
            sources=None if self.sources is None else [self.sources[i] for i in rows],
            numbers=None if self.numbers is None else [self.numbers[i] for i in rows],
        )

    def limited(self, limit: int | None) -> "EvalDataset":
        """At most `limit` samples, evenly spaced, since folders and tars are sorted by class."""
        if limit is None or limit >= len(self):
            return self
        return self.subset([i * len(self) // limit for i in range(limit)])

    @property
    def fingerprint(self) -> str:
        """sha256 of keys, picture sizes in bytes, labels, captions and class names."""
        sizes = [place and place.size for place in self.places]
        labels = None if self.labels is None else self.labels.tolist()
        content = [self.keys, sizes, labels, self.captions, self.classnames]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def holds(self) -> str:
        """What the samples carry, for messages."""
        found = [("labels", self.labels), ("captions", self.captions)]
        return " and ".join(name for name, value in found if value is not None) or "pictures only"


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
