"""Indexed shards: a picture a sample, its captions, and the scalars of its record."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vlp.data.index import IMAGE_EXTENSIONS, ShardIndex
from vlp.data.source import RawSample, UnusableSampleError
from vlp.data.tar import Member
from vlp.errors import InputError
from vlp.progress import watched
from vlp.retrieval.embedding.columns import Columns, text
from vlp.retrieval.embedding.items import Item, Say

_CAPTIONS = ("caption", "captions", "key", "split")  # of a record, that are told otherwise


def read_shards(data: str, shards: Sequence[tuple[Path, str | None]], say: Say) -> list[Item]:
    """The samples of shards, in order.

    Args:
        data: how the user called them.
        shards: each with the name of its split, if it has one.

    Raises:
        InputError: a shard without an index, or no picture in any.
        DamagedShardError: a shard is not the one that was indexed.
    """
    columns, problems = Columns(), list[str]()
    items: list[Item] = []
    samples = 0
    for shard, split in watched(shards, "reading captions", "shards"):
        try:
            time = os.stat(shard).st_mtime_ns  # before: written anew meanwhile, it is read again
            index = ShardIndex.read(str(shard.absolute()))
        except FileNotFoundError as error:
            raise InputError(str(error)) from None
        samples += len(index)
        items += _items(index, time, split, columns, problems)
    if not items:
        raise InputError(f"{data}: {len(shards)} shards with {samples:,} samples, and no picture")
    splits = ", ".join(dict.fromkeys(split for _, split in shards if split))
    captioned = sum(bool(item.captions) for item in items)
    say(
        f"data: {data}, {len(items):,} pictures in {len(shards):,} shard{'s' * (len(shards) > 1)}"
        f"{splits and f' of the splits {splits}'}, {captioned:,} with a caption"
    )
    if samples > len(items):
        say(f"{samples - len(items):,} samples have no picture")
    if problems:
        say(f"{len(problems):,} samples whose caption cannot be read, the first: {problems[0]}")
    columns.report(say)
    return items


def _items(
    index: ShardIndex, time: int, split: str | None, columns: Columns, problems: list[str]
) -> Iterator[Item]:
    with open(index.shard, "rb") as file:
        for row in range(len(index)):
            members = index.members(row)
            picture = next((e for e in IMAGE_EXTENSIONS if e in members), None)
            if picture is None:
                continue
            texts: dict[str, bytes] = {
                e: _bytes(file.fileno(), members[e]) for e in ("txt", "json") if e in members
            }
            sample = RawSample(index.shard, index.key(row), texts)
            member = members[picture]
            yield Item(
                f"{index.shard}/{sample.key}.{picture}",
                _captions(sample, problems),
                {"key": sample.key, **({"split": split} if split else {})}
                | columns.row(_record(sample)),
                f"{member.size}:{time}:{member.offset}",
                member.size,
            )


def _bytes(file: int, member: Member) -> bytes:
    return os.pread(file, member.size, member.offset)


def _captions(sample: RawSample, problems: list[str]) -> tuple[str, ...]:
    if not sample.members:
        return ()
    try:
        return tuple(text(caption).strip() for caption in sample.captions())
    except UnusableSampleError as error:
        if str(error) != "empty caption":
            problems.append(f"{sample.shard}: {sample.key}: {error}")
        return ()


def _record(sample: RawSample) -> dict[str, Any]:
    try:
        record = json.loads(sample.members.get("json", b"{}"))
    except (ValueError, RecursionError):
        return {}  # told where its captions are read
    if not isinstance(record, dict):
        return {}
    return {name: value for name, value in record.items() if name not in _CAPTIONS}
