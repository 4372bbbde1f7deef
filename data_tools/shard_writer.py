"""One chunk of input pictures to one shard: tar, index, parquet, and the commit mark last."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.collection import Picture, Reader
from data_tools.pictures import StoredPicture, store
from vlp.data.files import encode, replace_atomically, write_json
from vlp.data.images import UnreadableImageError
from vlp.data.index import write_index
from vlp.data.tar import write_tar

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


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """Everything a worker needs to write one shard."""

    folder: Path
    number: int
    pictures: tuple[Picture, ...]
    reader: Reader
    image_size: int | None  # pixels of the short side
    settings_sha256: str
    input_sha256: str

    @property
    def shard(self) -> Path:
        return self.folder / f"{self.number:05d}.tar"


def stats_path(shard: Path) -> Path:
    """The commit mark of a shard."""
    return shard.with_name(f"{shard.stem}_stats.json")


def write_shard(job: ShardJob) -> dict[str, Any]:
    """Write one shard with all that belongs to it; returns what the commit mark holds."""
    rows: list[dict[str, Any]] = []
    replace_atomically(job.shard, lambda path: write_tar(path, _samples(job, rows)))
    write_index(job.shard)
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    replace_atomically(job.shard.with_suffix(".parquet"), lambda path: pq.write_table(table, path))
    statuses = [row["status"] for row in rows]
    stats = {
        "count": len(rows),
        "successes": statuses.count("success"),
        "status_dict": {status: statuses.count(status) for status in sorted(set(statuses))},
        "dropped_captions": sum(row["dropped_captions"] for row in rows),
        "verbatim": sum(bool(row.get("verbatim")) for row in rows),
        "bytes": job.shard.stat().st_size,
        "sha256": _file_sha256(job.shard),
        "settings_sha256": job.settings_sha256,
        "input_sha256": job.input_sha256,
    }
    write_json(stats_path(job.shard), stats)
    return stats


def _samples(job: ShardJob, rows: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples of the tar; `rows` gets one row for every input, the failed ones included."""
    for place, picture in enumerate(job.pictures):
        key = f"{job.number:05d}{place:04d}"
        row: dict[str, Any] = {
            "key": key,
            "url": encode(picture.source).decode(),
            "status": picture.status,
            "error_message": encode(picture.message).decode(),
            "caption": picture.captions[0] if picture.captions else "",
            "captions": list(picture.captions),
            "dropped_captions": picture.dropped_captions,
            "label": picture.label,
            "extra": json.dumps(picture.extra, sort_keys=True, default=str),
        }
        rows.append(row)
        stored = _read(job, picture, row) if picture.status == "success" else None
        if stored is not None:
            yield key, _members(picture, row, stored)


def _read(job: ShardJob, picture: Picture, row: dict[str, Any]) -> StoredPicture | None:
    try:
        data = job.reader.read(picture.source)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        row |= {"status": "failed_to_read", "error_message": reason}
        return None
    row["sha256"] = hashlib.sha256(data).hexdigest()
    try:
        stored = store(data, job.image_size)
    except UnreadableImageError as error:
        row |= {"status": "failed_to_decode", "error_message": str(error)}
        return None
    names = ("width", "height", "original_width", "original_height")
    row |= {name: getattr(stored, name) for name in (*names, "source_mode", "frames", "verbatim")}
    return stored


def _members(picture: Picture, row: dict[str, Any], stored: StoredPicture) -> dict[str, bytes]:
    fields = {name: value for name, value in row.items() if name not in ("extra", "label")}
    if picture.label is not None:
        fields["label"] = picture.label
    for name, value in picture.extra.items():
        fields[f"source_{name}" if name in SCHEMA.names else name] = value
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False, default=str)
    members = {
        stored.extension: stored.data,
        "json": encode(text),
        "txt": picture.captions[0].encode(),
    }
    if picture.label is not None:
        members["cls"] = str(picture.label).encode()
    return members


def _file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
