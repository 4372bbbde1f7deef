"""A source of samples: indexed shards, their sidecars, and reading one sample as one `pread`."""

import glob
import json
import os
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from braceexpand import braceexpand

from vlp.data.index import IMAGE_EXTENSIONS, ShardIndex, shard_length, sidecar_path
from vlp.data.keep import Kept
from vlp.data.sidecars import (
    COUNTS,
    KEEP,
    NEIGHBOURS,
    REWRITES,
    TEACHER,
    Annotations,
    Sidecars,
    check_sidecar,
    kind_of,
)

_OPEN_SHARDS = 64  # per process; a window of the order touches few shards at a time


class UnusableSampleError(ValueError):
    """A sample without a readable picture or caption, and why."""


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Where samples come from and how much of a batch they make up."""

    shards: str | list[str]  # brace pattern, glob, folder of .tar files, or a list of these
    # rewrites, negatives, counts, neighbours, teacher, keep; several of a kind as `rewrites-NAME`.
    # Of several keep sidecars a sample must be kept by all.
    sidecars: list[str] = field(default_factory=list)
    weight: float = 1.0  # share of each batch, relative to the other sources

    def __post_init__(self) -> None:
        for name in self.sidecars:
            kind_of(name)
        for kind in (COUNTS, NEIGHBOURS):
            several = [name for name in self.sidecars if kind_of(name) == kind]
            if len(several) > 1:
                raise ValueError(f"sidecars {several}: of {kind} there can be one")
        if {TEACHER, REWRITES} <= set(map(kind_of, self.sidecars)):
            raise ValueError(
                f"sidecars {self.sidecars}: {TEACHER} holds embeddings of the original captions "
                "alone, so rewrites cannot be drawn beside it"
            )
        if not self.weight > 0:
            raise ValueError(f"weight must be positive, got {self.weight}")

    def has(self, kind: str) -> bool:
        """Whether it has a sidecar of a kind."""
        return kind in map(kind_of, self.sidecars)


@dataclass(frozen=True)
class RawSample:
    """A sample's members as bytes, with its key and what sidecars add."""

    shard: str
    key: str
    members: Mapping[str, bytes]
    annotations: Annotations = field(default_factory=Annotations)
    src_sha256: str = ""  # of the source caption, by which sidecars are joined

    @property
    def image(self) -> bytes:
        """The picture's bytes."""
        for extension in IMAGE_EXTENSIONS:
            if extension in self.members:
                return self.members[extension]
        raise UnusableSampleError(f"no picture among its members {sorted(self.members)}")

    def stored(self, name: str, own: int | None) -> tuple[np.ndarray, np.ndarray]:
        """A teacher's stored features [D] of the picture and of caption `own`.

        Raises:
            UnusableSampleError: there are none, or they are no finite numbers.
        """
        image, texts = (self.annotations.teachers or {}).get(name, (None, None))
        if image is None or texts is None or own is None or own >= len(texts):
            raise UnusableSampleError(f"the sidecar {name} has no row for this caption")
        text: np.ndarray = texts[own]
        if not (np.isfinite(image).all() and np.isfinite(text).all()):
            raise UnusableSampleError(f"the sidecar {name} holds NaN or infinity")
        return image, text

    @property
    def caption(self) -> str:
        """The source caption, to which sidecars are joined.

        Raises:
            UnusableSampleError: there is none, or it is not UTF-8.
        """
        try:
            return self.members["txt"].decode("utf-8")
        except (KeyError, UnicodeDecodeError) as error:
            raise UnusableSampleError(f"no readable .txt ({error})") from None

    def captions(self) -> list[str]:
        """The captions of the source, the original first.

        Raises:
            UnusableSampleError: there is none.
        """
        try:
            own = _captions(self.members)
        except ValueError as error:  # also bad UTF-8 and bad JSON
            raise UnusableSampleError(f"caption: {error}") from None
        if not own:
            raise UnusableSampleError("empty caption")
        return own


def _captions(members: Mapping[str, bytes]) -> list[str]:
    record = json.loads(members["json"]) if "json" in members else {}
    captions = record.get("captions") if isinstance(record, dict) else None
    if not captions:
        captions = [members["txt"].decode("utf-8")] if "txt" in members else []
    if not isinstance(captions, list) or not all(isinstance(c, str) for c in captions):
        raise ValueError(f"`captions` of its .json must be a list of texts, not {captions!r:.80}")
    return [caption for caption in captions if caption.strip()]


class Source:
    """Indexed shards. Picklable: files are opened in the process that reads.

    Args:
        name: for messages.
        config: shards, sidecars and weight.

    Raises:
        ValueError: nothing matches the pattern, the shards hold no sample, or a keep sidecar drops
            all of them or does not know one.
        FileNotFoundError: a shard or its index is missing.
    """

    def __init__(self, name: str, config: SourceConfig) -> None:
        self.name = name
        self.config = config
        self.shards = expand_shards(name, config.shards)
        self.lengths = [shard_length(shard) for shard in self.shards]
        if not sum(self.lengths):
            raise ValueError(f"data.sources.{name}.shards: {len(self.shards)} shards, no sample")
        for sidecar in config.sidecars:
            check_sidecar(f"data.sources.{name}.sidecars", sidecar, self.shards)
        self._kept = self._read_kept()
        self._stems = {Path(shard).stem: i for i, shard in enumerate(self.shards)}
        if len(self._stems) < len(self.shards) and config.has(NEIGHBOURS):
            raise ValueError(
                f"data.sources.{name}.sidecars: {NEIGHBOURS} names shards by their file names, and "
                "several shards of this source have the same one"
            )
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    @property
    def summary(self) -> str:
        """How many samples it has, for people."""
        number = f"{sum(self.lengths):,} samples in {len(self.shards)} shards"
        if not self._kept:
            return number
        names = " and ".join(name for name in self.config.sidecars if kind_of(name) == KEEP)
        return f"{number}, kept by {names} of {sum(kept.total for kept in self._kept):,}"

    def sidecar_marks(self) -> list[list[int | str]]:
        """What tells other sidecars of every shard: their bytes, for another size is other content.

        Last, with keep sidecars, which samples of each shard are kept, as sha256.
        """
        marks: list[list[int | str]] = [
            [sidecar_path(shard, name).stat().st_size for shard in self.shards]
            for name in self.config.sidecars
            if kind_of(name) != KEEP
        ]
        return [*marks, [kept.sha256 for kept in self._kept]] if self._kept else marks

    def read(self, shard: int, row: int) -> RawSample:
        """The members of one sample; `row` counts the samples of the shard that are kept.

        Raises:
            UnusableSampleError: the shard ends before the sample does, or a sidecar's row of it is
                not what it has to be.
            OSError: the shard cannot be read.
        """
        return self._opened(shard).read(row)

    def find(self, stem: str, key: str) -> tuple[int, int] | None:
        """(shard, row) of a key in the shard of that name; None if a keep sidecar drops it.

        Raises:
            UnusableSampleError: there is no such shard or key.
        """
        shard = self._stems.get(stem)
        row = None if shard is None else self._opened(shard).index.find(key)
        if shard is None or row is None:
            raise UnusableSampleError(f"neighbour {key!r} of shard {stem!r} is not in the source")
        place = self._opened(shard).place(row)
        return None if place is None else (shard, place)

    def _read_kept(self) -> list[Kept]:
        """What is kept of each shard, to which `lengths` shrink; empty without keep sidecars."""
        names = [name for name in self.config.sidecars if kind_of(name) == KEEP]
        if not names:
            return []
        where = f"data.sources.{self.name}.sidecars"
        try:
            kept = [Kept.read(shard, names) for shard in self.shards]
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        self.lengths = [len(shard) for shard in kept]
        if not sum(self.lengths):
            total = sum(shard.total for shard in kept)
            raise ValueError(
                f"{where}: {' and '.join(names)} together drop all {total:,} samples of "
                f"{len(self.shards)} shards"
            )
        return kept

    def _opened(self, shard: int) -> "_OpenShard":
        if shard not in self._open:
            kept = self._kept[shard] if self._kept else None
            self._open[shard] = _OpenShard(self.shards[shard], self.config.sidecars, kept)
            if len(self._open) > _OPEN_SHARDS:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(shard)
        return self._open[shard]


class _OpenShard:
    def __init__(self, shard: str, sidecars: Sequence[str], kept: Kept | None) -> None:
        self.index = ShardIndex.read(shard)
        self.rows = np.arange(len(self.index)) if kept is None else kept.rows()
        self.sidecars = Sidecars(shard, [name for name in sidecars if kind_of(name) != KEEP])
        self.file = os.open(shard, os.O_RDONLY)

    def close(self) -> None:
        os.close(self.file)

    def place(self, row: int) -> int | None:
        """Which of the kept samples a row of the index is."""
        place = int(np.searchsorted(self.rows, row))
        return place if place < len(self.rows) and self.rows[place] == row else None

    def read(self, place: int) -> RawSample:
        row = int(self.rows[place])
        members = self.index.members(row)
        begin = min(member.offset for member in members.values())
        end = max(member.offset + member.size for member in members.values())
        data = os.pread(self.file, end - begin, begin)
        if len(data) < end - begin:
            raise UnusableSampleError(f"the shard ends at byte {begin + len(data)}, before {end}")
        parts = {
            extension: data[member.offset - begin : member.offset - begin + member.size]
            for extension, member in members.items()
        }
        key, digest = self.index.key(row), self.index.src_sha256(row)
        try:
            annotations = self.sidecars.of(key, digest)
        except ValueError as error:
            raise UnusableSampleError(str(error)) from None
        return RawSample(self.index.shard, key, parts, annotations, digest)


def expand_shards(name: str, shards: str | Sequence[str]) -> list[str]:
    """The files that a brace pattern, a glob, a folder or a list of these means, in order."""
    field_name = f"data.sources.{name}.shards"
    found: list[str] = []
    for entry in [shards] if isinstance(shards, str) else shards:
        if entry.startswith("pipe:") or "://" in entry:
            raise ValueError(f"{field_name}: {entry!r}: only local shards can be read")
        if Path(entry).is_dir():
            matched = sorted(str(path) for path in Path(entry).glob("*.tar"))
        else:
            matched = [
                path
                for pattern in braceexpand(entry)
                for path in (sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern])
            ]
        if not matched:
            raise ValueError(f"{field_name}: no shards matched {entry!r}")
        found += matched
    missing = [path for path in found if not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{field_name}: {len(missing)} of {len(found)} shards are missing, "
            f"the first is {missing[0]}"
        )
    repeated = [path for path, times in Counter(found).items() if times > 1]
    if repeated:
        raise ValueError(f"{field_name}: {repeated[0]} is listed more than once")
    return found
