"""Shards that are written again because inputs that failed before may be readable now.

What succeeded is copied from the shard, byte for byte; what failed is tried again, under the key
that its place in the input reserves. So the result is what a fresh build of the input gives.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_tools.building.collection import Picture
from data_tools.building.shard_writer import (
    SCHEMA,
    Row,
    Sample,
    ShardJob,
    make_sample,
    read_rows,
    write_files,
)
from data_tools.manifest import Mark
from vlp.data.files import encode
from vlp.data.index import group_members


@dataclass(frozen=True)
class Retry:
    """A shard of which something had failed."""

    job: ShardJob
    mark: Mark  # of the shard as it is

    def __str__(self) -> str:
        return str(self.job)


def difference(retry: Retry) -> str:
    """What keeps a shard from being retried: an input that had not failed is another one now."""
    job, rows = retry.job, read_rows(retry.job)
    if len(rows) != len(job.pictures):
        return f"{job.name} had {len(rows)} inputs, now {len(job.pictures)}"
    for row, picture in zip(rows, job.pictures, strict=True):
        what = _change(job, row, picture)
        if what:
            return f"{job.name}: {row['url']}: {what}"
    return ""


def _change(job: ShardJob, row: Row, picture: Picture) -> str:
    if row["url"] != encode(picture.source).decode():
        return f"is now {picture.source}"
    if row["status"] != "success":
        return ""
    told = {
        "captions": list(picture.captions),
        "dropped_captions": picture.dropped_captions,
        "label": picture.label,
        "extra": json.dumps(picture.extra, sort_keys=True, default=str),
        "status": picture.status,
    }
    for name, value in told.items():
        if row[name] != value:
            return f"{name} was {row[name]!r}, is {value!r}"
    try:
        data = job.reader.read(picture)
    except (OSError, ValueError) as error:
        return f"had been read, now not ({error})"
    return "" if hashlib.sha256(data).hexdigest() == row["sha256"] else "is another picture now"


def retry_shard(retry: Retry) -> Mark:
    """Try what failed again, and write the shard if anything came of it; its commit mark."""
    job, former = retry.job, read_rows(retry.job)
    if retry.mark["input_sha256"] == job.input_sha256 and not _anything_new(job, former):
        return retry.mark
    rows: list[Row] = []
    with job.folder.workplace() as folder:
        shard = job.folder.fetch(job.name, folder)
        return write_files(job, _samples(job, former, shard, rows), rows)


def _anything_new(job: ShardJob, former: list[Row]) -> bool:
    empty = dict.fromkeys(SCHEMA.names)
    failed = [place for place, row in enumerate(former) if row["status"] != "success"]
    return any(empty | make_sample(job, place)[0] != former[place] for place in failed)


def _samples(job: ShardJob, former: list[Row], shard: Path, rows: list[Row]) -> Iterator[Sample]:
    places = group_members(shard)
    with open(shard, "rb") as file:
        for place, row in enumerate(former):
            members: dict[str, bytes] = {}
            if row["status"] == "success":
                for extension, member in places[row["key"]].items():
                    members[extension] = os.pread(file.fileno(), member.size, member.offset)
            else:
                row, members = make_sample(job, place)
            rows.append(row)
            if members:
                yield row["key"], members
