"""Pictures with the same bytes: the first of them is embedded, the others are noted with it.

Few files are read for it: those of a size that another has, of these those with the same last
bytes, and only these wholly.
"""

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from typing import TypeVar

from vlp.data.files import is_text
from vlp.progress import bar
from vlp.retrieval.embedding.items import Item
from vlp.retrieval.pictures import MissingPictureError, read_picture

_END = 4096  # bytes; cameras begin their files alike
_AT_ONCE = 10_000  # pictures that wait for a thread

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A picture that has the same bytes as one before it."""

    item: Item
    of: str  # image_path of the one that is embedded
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Distinct:
    """Pictures, each content once.

    Args:
        items: the first picture of each content, in order, with the captions of all its copies.
        copies: the others.
    """

    items: list[Item]
    copies: list[Copy]

    def part(self, begin: int, end: int) -> "Distinct":
        """The items from one place to another, and their copies."""
        items = self.items[begin:end]
        copies = [copy for item in items for copy in self._by_first.get(item.image_path, ())]
        return Distinct(items=items, copies=copies)

    @cached_property
    def _by_first(self) -> dict[str, list[Copy]]:
        found: dict[str, list[Copy]] = {}
        for copy in self.copies:
            found.setdefault(copy.of, []).append(copy)
        return found


def find_copies(items: Sequence[Item], workers: int) -> list[Copy]:
    """The pictures whose bytes an earlier one has. What cannot be read or named is none.

    Args:
        items: in the order that decides which is the first.
        workers: threads that read.
    """
    usable = {place: item for place, item in enumerate(items) if is_text(item.image_path)}
    sizes = {place: item.size for place, item in usable.items() if item.size > 0}
    groups = _alike([list(sizes)], sizes)
    with ThreadPoolExecutor(workers) as pool:
        groups = _alike(groups, _digests(items, groups, pool, _END))
        digests = _digests(items, groups, pool, None)
    firsts = {place: group[0] for group in _alike(groups, digests) for place in group[1:]}
    return [
        Copy(item=items[place], of=items[first].image_path, sha256=digests[place])
        for place, first in sorted(firsts.items())
    ]


def without_copies(items: Sequence[Item], copies: Sequence[Copy]) -> Distinct:
    """The pictures that remain; a picture has the captions of its copies too."""
    gone = {copy.item.image_path for copy in copies}
    told: dict[str, dict[str, None]] = {}
    for copy in copies:
        told.setdefault(copy.of, {}).update(dict.fromkeys(copy.item.captions))
    return Distinct(
        items=[
            replace(item, captions=tuple(dict.fromkeys((*item.captions, *told[item.image_path]))))
            if item.image_path in told
            else item
            for item in items
            if item.image_path not in gone
        ],
        copies=list(copies),
    )


def _alike(groups: Iterable[Sequence[int]], keys: Mapping[int, Key]) -> list[list[int]]:
    """Places of each group that have the same key, where several have."""
    found: list[list[int]] = []
    for group in groups:
        by_key: dict[Key, list[int]] = {}
        for place in group:
            if place in keys:
                by_key.setdefault(keys[place], []).append(place)
        found += [places for places in by_key.values() if len(places) > 1]
    return found


def _digests(
    items: Sequence[Item], groups: Iterable[Sequence[int]], pool: Executor, last: int | None
) -> dict[int, str]:
    """sha256 of the last bytes, or of all, of the pictures in the groups that can be read."""
    places = sorted(place for group in groups for place in group)
    found = {}
    with bar("looking for copies", "files", len(places)) as shown:
        for begin in range(0, len(places), _AT_ONCE):
            some = places[begin : begin + _AT_ONCE]
            paths = [items[place].image_path for place in some]
            for place, digest in zip(some, pool.map(_digest, paths, repeat(last)), strict=True):
                if digest is not None:
                    found[place] = digest
            shown.update(len(some))
    return found


def _digest(image_path: str, last: int | None) -> str | None:
    try:
        return hashlib.sha256(read_picture(image_path, last)).hexdigest()
    except MissingPictureError:
        return None
