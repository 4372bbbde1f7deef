"""Keys that come in several shards of a folder, by 16 bytes a sample."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_tools.defects.scanner import Defect, find_keys


@dataclass(frozen=True)
class Repeated:
    """Keys of a shard that earlier ones of its folder have: {digest: earlier shard}."""

    shard: Path
    digests: dict[bytes, str]


def find_repeated(shards: Sequence[Path], digests: Sequence[bytes]) -> Iterator[Repeated]:
    """The shards that repeat keys, in the order given; folders are looked at one by one.

    Args:
        digests: of each shard, 16 bytes for each of its keys.
    """
    folders: dict[Path, list[int]] = {}
    for place, shard in enumerate(shards):
        folders.setdefault(shard.absolute().parent, []).append(place)
    found = [one for places in folders.values() for one in _in_folder(shards, digests, places)]
    for _, repeated in sorted(found, key=lambda pair: pair[0]):
        yield repeated


def _in_folder(
    shards: Sequence[Path], digests: Sequence[bytes], places: Sequence[int]
) -> Iterator[tuple[int, Repeated]]:
    tables = [np.frombuffer(digests[place], np.uint64).reshape(-1, 2) for place in places]
    halves = np.concatenate([table[:, 0] for table in tables])
    halves.sort()  # 8 more bytes a sample
    candidates = np.unique(halves[1:][halves[1:] == halves[:-1]])
    if not len(candidates):
        return
    first: dict[bytes, str] = {}
    for place, table in zip(places, tables, strict=True):
        own = table[np.isin(table[:, 0], candidates)]
        keys = [row.tobytes() for row in own]
        repeated = {key: first[key] for key in keys if key in first}
        first |= {key: shards[place].name for key in keys if key not in first}
        if repeated:
            yield place, Repeated(shards[place], repeated)


def name_repeated(job: Repeated) -> list[Defect]:
    """The defects of a shard, with keys and places, by another walk over it."""
    return [
        Defect(key, "DUPLICATE_KEY_ACROSS", f"also in {job.digests[digest]}", start)
        for key, start, digest in find_keys(job.shard, set(job.digests))
    ]
