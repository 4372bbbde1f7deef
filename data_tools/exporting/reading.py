"""The samples of a shard with what its sidecars say of them, and why others are not exported."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_tools.lots import rng
from data_tools.resharding.found import JOINED_BY, joined
from data_tools.samples import open_index, read_samples
from vlp.data.index import IMAGE_EXTENSIONS, sidecar_path
from vlp.data.keep import keep_column
from vlp.data.sidecars import REWRITES
from vlp.data.source import RawSample, UnusableSampleError
from vlp.errors import InputError

_FEWEST_WORDS = 2  # of a rewrite that is drawn, as in LaCLIP and in training


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A sample that can be exported."""

    key: str
    src_sha256: str
    members: Mapping[str, bytes]
    extension: str  # of its picture
    captions: Sequence[str]  # its own, the original first
    record: Mapping[str, Any]  # its .json
    rows: Mapping[str, Mapping[str, Any]]  # by sidecar

    @property
    def picture(self) -> bytes:
        """The picture's bytes."""
        return self.members[self.extension]

    def texts(self) -> list[tuple[str, str]]:
        """(where from, text) of its captions and then of its rewrites, none empty."""
        found = [("caption", text) for text in self.captions]
        for name, row in self.rows.items():
            if name.partition("-")[0] == REWRITES:
                found += [(name, text) for text in row["texts"] or () if text and text.strip()]
        return found


@dataclass(frozen=True)
class Dropped:
    """A sample that is not exported."""

    key: str
    reason: str
    detail: str = ""


def read_shard(
    shard: Path, keep: Sequence[str], sidecars: Sequence[str]
) -> Iterator[Sample | Dropped]:
    """Every sample of a shard.

    Args:
        keep: keep sidecars, by all of which a sample must be kept.
        sidecars: that are read; a shard may lack them.

    Raises:
        InputError: no index, or a keep sidecar that does not know every sample.
        DamagedShardError: the shard is not the one that was indexed.
    """
    dropped_by = _dropped_by(shard, keep)
    rows = {name: Joined(shard, name) for name in sidecars}
    for place, raw in enumerate(read_samples(shard)):
        if place in dropped_by:
            yield Dropped(raw.key, dropped_by[place])
        else:
            yield _sample(raw, {name: found.row(place) for name, found in rows.items()})


class Joined:
    """A sidecar by the rows of the index; of several rows of a sample the first."""

    def __init__(self, shard: Path, name: str) -> None:
        index = open_index(shard).table
        path = sidecar_path(shard, name)
        if path.is_file():
            table = pq.read_table(path)
            self._places = joined(index, table)
            self.table = table.drop_columns(list(JOINED_BY))
        else:
            self._places = pa.chunked_array([pa.nulls(len(index), pa.int32())])
            self.table = None

    def row(self, sample: int) -> dict[str, Any] | None:
        """The row of a sample of the index, None where it has none."""
        place = self._places[sample].as_py()
        if place is None or self.table is None:
            return None
        found: dict[str, Any] = self.table.slice(place, 1).to_pylist()[0]
        return found

    def rows(self, samples: Sequence[int]) -> pa.Table | None:
        """The rows of samples, null where there is none; None without a sidecar."""
        if self.table is None:
            return None
        return self.table.take(pc.take(self._places, pa.array(samples, pa.int64())))


def drawn_text(sample: Sample, seed: int) -> tuple[str, str]:
    """(where from, text): one of the captions and rewrites, all alike likely.

    A rewrite of under two words falls back to the original (Fan et al. 2023, LaCLIP).
    """
    texts = sample.texts()
    draw = rng(seed, "export", sample.key, sample.src_sha256)
    name, text = texts[draw.randrange(len(texts))]
    is_short = name != "caption" and len(text.split()) < _FEWEST_WORDS
    return texts[0] if is_short else (name, text)


def _dropped_by(shard: Path, keep: Sequence[str]) -> dict[int, str]:
    dropped: dict[int, str] = {}
    for name in keep:
        if not sidecar_path(shard, name).is_file():
            raise InputError(f"--keep {name}: {sidecar_path(shard, name)} is missing")
        try:
            kept = keep_column(shard, name).tolist()
        except (ValueError, KeyError) as error:
            raise InputError(f"--keep {name}: {error}") from None
        dropped = {place: name for place, keeps in enumerate(kept) if not keeps} | dropped
    return dropped


def _sample(raw: RawSample, rows: Mapping[str, dict[str, Any] | None]) -> Sample | Dropped:
    extensions = [name for name in IMAGE_EXTENSIONS if name in raw.members]
    if not extensions:
        return Dropped(raw.key, "no_picture", f"members: {', '.join(raw.members)}")
    try:
        record = json.loads(raw.members.get("json", b"{}"))
        if not isinstance(record, dict):
            raise ValueError(f"not an object but {type(record).__name__}")
    except ValueError as error:  # also bad UTF-8
        return Dropped(raw.key, "bad_json", str(error))
    try:
        captions = raw.captions()
    except UnusableSampleError as error:
        return Dropped(raw.key, "no_caption", str(error))
    return Sample(
        key=raw.key,
        src_sha256=raw.src_sha256,
        members=raw.members,
        extension=extensions[0],
        captions=captions,
        record=record,
        rows={name: row for name, row in rows.items() if row is not None},
    )
