"""One chunk of input pictures to one shard: tar, index, parquet, and the commit mark last."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.building.collection import Picture, Reader
from data_tools.building.pictures import Policy, StoredPicture, UnwantedPictureError, store
from data_tools.destination import Destination
from vlp.data.files import encode, replace_atomically, write_json
from vlp.data.images import UnreadableImageError
from vlp.data.index import SCHEMA as INDEX_SCHEMA
from vlp.data.index import caption_sha256
from vlp.data.tar import write_tar
from vlp.data.tar_header import BLOCK

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("url", pa.string()),  # img2dataset's name for where a picture comes from
        ("status", pa.string()),
        ("error_message", pa.string()),
        ("caption", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("dropped_captions", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("sha256", pa.string()),  # of the source's bytes
        ("source_mode", pa.string()),
        ("frames", pa.int32()),
        ("verbatim", pa.bool_()),
        ("label", pa.int32()),
        ("extra", pa.string()),  # JSON: further columns have no common type
    ]
)


Row = dict[str, Any]
Sample = tuple[str, Mapping[str, bytes]]  # key, {extension: bytes}


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """Everything a worker needs to write one shard."""

    folder: Destination
    number: int
    pictures: tuple[Picture, ...]
    reader: Reader
    policy: Policy
    settings_sha256: str
    input_sha256: str

    @property
    def name(self) -> str:
        return f"{self.number:05d}.tar"

    @property
    def rows_name(self) -> str:
        return f"{self.number:05d}.parquet"

    @property
    def index_name(self) -> str:
        return f"annotations/index/{self.rows_name}"

    @property
    def mark_name(self) -> str:
        """The commit mark."""
        return f"{self.number:05d}_stats.json"

    @property
    def files(self) -> tuple[str, ...]:
        """All that belongs to the shard, in the order of writing."""
        return self.name, self.index_name, self.rows_name, self.mark_name

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}"


def stats_path(shard: Path) -> Path:
    """The commit mark of a shard."""
    return shard.with_name(f"{shard.stem}_stats.json")


def read_rows(job: ShardJob, columns: list[str] | None = None) -> list[Row]:
    """The rows beside a shard that was written, all columns or some.

    Without `read_table`, whose scanner has threads of its own: with bytes in memory it aborts the
    process now and then when that ends soon after.
    """
    file = pq.ParquetFile(pa.BufferReader(job.folder.read(job.rows_name)))
    rows: list[Row] = file.read(columns=columns, use_threads=False).to_pylist()
    return rows


def write_shard(job: ShardJob) -> dict[str, Any]:
    """Write one shard with all that belongs to it; returns what the commit mark holds."""
    rows: list[Row] = []
    return write_files(job, _samples(job, rows), rows)


def write_files(job: ShardJob, samples: Iterable[Sample], rows: list[Row]) -> dict[str, Any]:
    """Write a shard of these samples, and of the rows that are there when the last was taken."""
    job.folder.remove(job.mark_name)  # from here on the shard is not what its mark says
    with job.folder.workplace() as folder:
        shard = folder / job.name
        places: list[Row] = []
        sha256 = replace_atomically(shard, lambda path: write_tar(path, _placed(samples, places)))
        schema = INDEX_SCHEMA.with_metadata({"vlp_shard_bytes": str(shard.stat().st_size)})
        index = pa.Table.from_pylist(places, schema=schema)
        replace_atomically(folder / job.index_name, lambda path: _write_parquet(index, path))
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        replace_atomically(folder / job.rows_name, lambda path: _write_parquet(table, path))
        stats = _stats(job, rows) | {"bytes": shard.stat().st_size, "sha256": sha256}
        write_json(folder / job.mark_name, stats)
        job.folder.publish(folder, job.files)
    return stats


def _placed(samples: Iterable[Sample], places: list[Row]) -> Iterator[Sample]:
    """The samples on their way to the tar; `places` gets the index, so that no scan is needed."""
    end = 0
    for key, members in samples:
        sizes = [len(data) for data in members.values()]
        offsets = []
        for size in sizes:
            offsets.append(end + BLOCK)
            end += BLOCK + -(-size // BLOCK) * BLOCK
        digest = caption_sha256(members["txt"])
        row: Row = {"key": key, "src_sha256": digest, "ext": list(members)}
        places.append(row | {"offset": offsets, "size": sizes})
        yield key, members


def _stats(job: ShardJob, rows: list[Row]) -> dict[str, Any]:
    statuses = [row["status"] for row in rows]
    return {
        "count": len(rows),
        "successes": statuses.count("success"),
        "status_dict": {status: statuses.count(status) for status in sorted(set(statuses))},
        "dropped_captions": sum(row["dropped_captions"] for row in rows),
        "verbatim": sum(bool(row.get("verbatim")) for row in rows),
        "settings_sha256": job.settings_sha256,
        "input_sha256": job.input_sha256,
    }


def _samples(job: ShardJob, rows: list[Row]) -> Iterator[Sample]:
    """The samples of the tar; `rows` gets one row for every input, the failed ones included."""
    for place in range(len(job.pictures)):
        row, members = make_sample(job, place)
        rows.append(row)
        if members:
            yield row["key"], members


def make_sample(job: ShardJob, place: int) -> tuple[Row, dict[str, bytes]]:
    """The row of the input at a place, and the members of its sample, none where it failed."""
    picture = job.pictures[place]
    row: Row = {
        "key": f"{job.number:05d}{place:04d}",
        "url": encode(picture.source).decode(),
        "status": picture.status,
        "error_message": encode(picture.message).decode(),
        "caption": picture.captions[0] if picture.captions else "",
        "captions": list(picture.captions),
        "dropped_captions": picture.dropped_captions,
        "label": picture.label,
        "extra": json.dumps(picture.extra, sort_keys=True, default=str),
    }
    stored = _read(job, picture, row) if picture.status == "success" else None
    return row, {} if stored is None else _members(picture, row, stored)


def _read(job: ShardJob, picture: Picture, row: Row) -> StoredPicture | None:
    try:
        data = job.reader.read(picture)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        row |= {"status": "failed_to_read", "error_message": reason}
        return None
    row["sha256"] = hashlib.sha256(data).hexdigest()
    try:
        stored = store(data, job.policy)
    except UnreadableImageError as error:
        row |= {"status": "failed_to_decode", "error_message": str(error)}
        return None
    except UnwantedPictureError as error:
        row |= {"status": error.status, "error_message": str(error)} | error.known
        return None
    names = ("width", "height", "original_width", "original_height")
    row |= {name: getattr(stored, name) for name in (*names, "source_mode", "frames", "verbatim")}
    return stored


def _members(picture: Picture, row: Row, stored: StoredPicture) -> dict[str, bytes]:
    fields = {name: value for name, value in row.items() if name not in ("extra", "label")}
    if picture.label is not None:
        fields["label"] = picture.label
    for name, value in picture.extra.items():
        fields[_field_name(name, picture.extra)] = value
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False, default=str)
    members = {
        stored.extension: stored.data,
        "json": encode(text),
        "txt": picture.captions[0].encode(),
    }
    if picture.label is not None:
        members["cls"] = str(picture.label).encode()
    return members


def _field_name(name: str, others: Mapping[str, Any]) -> str:
    """Where a further column goes that is named as one of our fields, or as such a place."""
    while name in SCHEMA.names:
        name = f"source_{name}"
        while name in others:
            name = f"source_{name}"
    return name


def _write_parquet(table: pa.Table, path: Path) -> None:
    with open(path, "wb") as file:  # Arrow would take a name with a colon for a URL
        pq.write_table(table, file)
