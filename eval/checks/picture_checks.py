"""What is wrong with the pictures of a data set: unreadable ones, and copies of one another."""

import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from eval.datasets import EvalDataset, Place
from vlp.data.images import UnreadableImageError, decode

Item = TypeVar("Item")
LOOKED_AT = 256  # pictures that are decoded unless all are asked for
_TAIL = 512  # bytes that are compared first


@dataclass(kw_only=True)
class Seen:
    """What decoding some or all pictures showed."""

    looked_at: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    widths: list[int] = field(default_factory=list)  # pixels, of those that can be read
    heights: list[int] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # (key, reason)


def look_at(dataset: EvalDataset, *, everything: bool) -> Seen:
    """Decode pictures: all, or `LOOKED_AT` evenly spaced ones."""
    part = dataset if everything else dataset.limited(LOOKED_AT)
    seen = Seen(looked_at=len(part))
    pairs = list(zip(part.keys, part.places, strict=True))
    for key, place in watched(pairs, "pictures"):
        try:
            if place is None:
                raise UnreadableImageError("the sample has no picture")
            decoded = decode(place.read())
            seen.formats[decoded.format] += 1
            seen.widths.append(decoded.image.width)
            seen.heights.append(decoded.image.height)
        except (UnreadableImageError, OSError) as error:
            seen.unreadable.append((key, str(error)))
    return seen


def watched(items: Sequence[Item], what: str) -> "tqdm[Item]":
    """The same with a bar that appears after two seconds; few lines where no one watches."""
    interval = 0.5 if sys.stderr.isatty() else 10.0
    return tqdm(items, what, delay=2.0, leave=False, mininterval=interval)


def missing(dataset: EvalDataset) -> list[str]:
    """The keys of samples without a picture, or whose file is gone; all samples are looked at."""
    there: dict[str, bool] = {}
    found = []
    for key, place in zip(dataset.keys, dataset.places, strict=True):
        if place is not None and place.file not in there:
            there[place.file] = Path(place.file).is_file()
        if place is None or not there[place.file]:
            found.append(key)
    return found


def copies(dataset: EvalDataset) -> list[list[int]]:
    """The samples whose pictures are the same bytes, [group][2 or more positions], in order.

    Only pictures of equal size in bytes are read, and first their ends.
    """
    places = {i: place for i, place in enumerate(dataset.places) if place is not None}
    sizes = {i: _size(place) for i, place in places.items()}
    groups = _split(
        [[i for i in places if sizes[i] is not None]], lambda i: (sizes[i], places[i].box)
    )
    groups = _split(groups, lambda i: _digest(places[i], sizes[i], _TAIL))
    return sorted(_split(groups, lambda i: _digest(places[i], sizes[i], None)))


def _split(groups: Iterable[list[int]], key: Callable[[int], Hashable]) -> list[list[int]]:
    """The parts of each group that agree in `key`, as far as they have two or more members."""
    found = []
    for group in groups:
        parts: dict[Hashable, list[int]] = defaultdict(list)
        for position in group:
            parts[key(position)].append(position)
        found += [part for part in parts.values() if len(part) > 1]
    return found


def _size(place: Place) -> int | None:
    """In bytes; None where the file is gone."""
    try:
        return place.size if place.size >= 0 else Path(place.file).stat().st_size - place.offset
    except OSError:
        return None


def _digest(place: Place, size: int | None, tail: int | None) -> bytes | str:
    """Of the whole picture, or of its end; a file that is gone has one of its own."""
    assert size is not None
    length = size if tail is None else min(size, tail)
    part = replace(place, offset=place.offset + size - length, size=length)
    try:
        return hashlib.sha256(part.read()).digest()
    except OSError:
        return f"{place.file}:{place.offset}"
