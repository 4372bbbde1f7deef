"""The `index` sidecar: where each member of each sample lies in its tar, so a sample is one read.

`annotations/index/SHARD.parquet`, one row a sample in tar order: `key`, `src_sha256` (of the source
caption's bytes, the `.txt` member; empty without one), and the parallel lists `ext`, `offset`
(bytes), `size` (bytes). The schema's metadata holds the tar's size, so that a replaced shard is
noticed.
"""

import hashlib
import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlp.data.files import is_text, replace_atomically
from vlp.data.tar import DamagedShardError, Member, scan, split_name

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("src_sha256", pa.string()),
        ("ext", pa.list_(pa.string())),
        ("offset", pa.list_(pa.int64())),
        ("size", pa.list_(pa.int64())),
    ]
)
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")


def sidecar_path(shard: str | Path, name: str) -> Path:
    """Where the sidecar `name` of a shard lies: annotations/NAME/SHARD.parquet beside the shard."""
    shard = Path(shard)
    return shard.parent / "annotations" / name / f"{shard.stem}.parquet"


def caption_sha256(caption: bytes) -> str:
    """The join key of every sidecar: sha256 of the `.txt` member's bytes, as hexadecimal."""
    return hashlib.sha256(caption).hexdigest()


def write_index(shard: str | Path) -> int:
    """Scan a tar and write its index atomically. Returns the number of samples.

    Raises:
        DamagedShardError: the tar is damaged, or its members do not form samples.
    """
    table = build_index(Path(shard))
    replace_atomically(sidecar_path(shard, "index"), lambda path: pq.write_table(table, path))
    return int(table.num_rows)


def build_index(shard: Path) -> pa.Table:
    """The index of one tar as a table with `SCHEMA`."""
    samples = group_members(shard)
    digests = []
    with open(shard, "rb") as file:
        for members in samples.values():
            text = members.get("txt")
            digests.append(
                caption_sha256(os.pread(file.fileno(), text.size, text.offset)) if text else ""
            )
    names = [name for members in samples.values() for name in members]
    places = [member for members in samples.values() for member in members.values()]
    starts = pa.array([0, *itertools.accumulate(map(len, samples.values()))], pa.int32())

    def lists(values: Iterable[str | int], kind: pa.DataType) -> pa.Array:
        # nested Python lists take Arrow ten times as long as flat ones
        return pa.ListArray.from_arrays(starts, pa.array(values, kind))

    columns = [
        pa.array(list(samples), pa.string()),
        pa.array(digests, pa.string()),
        lists(names, pa.string()),
        lists([member.offset for member in places], pa.int64()),
        lists([member.size for member in places], pa.int64()),
    ]
    metadata = {"vlp_shard_bytes": str(shard.stat().st_size)}
    return pa.table(columns, schema=SCHEMA.with_metadata(metadata))


def group_members(shard: Path) -> dict[str, dict[str, Member]]:
    """{key: {extension: member}} of the samples of a tar, in its order.

    Raises:
        DamagedShardError: the tar is damaged, a name is no UTF-8, or a key comes back later, which
            is damage and not a second sample.
    """
    samples: dict[str, dict[str, Member]] = {}
    current = None
    for member in scan(shard):
        key, extension = split_name(member.name)
        # archivers of some systems leave `._NAME` and folders of their own behind
        if not extension or not key.rpartition("/")[2] or key.startswith("__MACOSX/"):
            continue
        if not (member.name.isascii() or is_text(member.name)):
            raise DamagedShardError(f"{shard}: the member name {member.name!r} is not UTF-8")
        if key != current and key in samples:
            raise DamagedShardError(
                f"{shard}: key {key!r} comes back at byte {member.offset} after other samples; "
                "the members of a sample must be contiguous and keys unique"
            )
        members = samples.setdefault(key, {})
        if extension in members:
            raise DamagedShardError(f"{shard}: key {key!r} has two members .{extension}")
        members[extension] = member
        current = key
    return samples


@dataclass(frozen=True)
class ShardIndex:
    """The index of one shard, held as an Arrow table."""

    shard: str
    table: pa.Table

    @classmethod
    def read(cls, shard: str) -> "ShardIndex":
        """Read the sidecar of a shard.

        Raises:
            FileNotFoundError: no index was written; the message has the command that writes it.
            DamagedShardError: the tar is not the one that was indexed.
        """
        table = pq.read_table(_existing_index(shard))
        _check_size(shard, table.schema)
        return cls(shard, table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def key(self, row: int) -> str:
        return str(self.table["key"][row].as_py())

    def find(self, key: str) -> int | None:
        """The row of a key, or None."""
        row = int(pc.index(self.table["key"], key).as_py())
        return None if row < 0 else row

    def src_sha256(self, row: int) -> str:
        return str(self.table["src_sha256"][row].as_py())

    def members(self, row: int) -> dict[str, Member]:
        """{extension: member} of one sample."""
        key = self.key(row)
        extensions = self.table["ext"][row].as_py()
        offsets = self.table["offset"][row].as_py()
        sizes = self.table["size"][row].as_py()
        return {
            extension: Member(f"{key}.{extension}", offset, size)
            for extension, offset, size in zip(extensions, offsets, sizes, strict=True)
        }


def shard_length(shard: str) -> int:
    """Number of samples of an indexed shard, from the sidecar's footer and the tar's size alone.

    Raises: as `ShardIndex.read`.
    """
    path = _existing_index(shard)
    with pq.ParquetFile(path) as file:
        _check_size(shard, file.schema_arrow)
        return int(file.metadata.num_rows)


def _existing_index(shard: str) -> Path:
    path = sidecar_path(shard, "index")
    if not path.is_file():
        raise FileNotFoundError(
            f"{shard} has no index ({path} is missing); "
            f"write it with: python -m data_tools index {shard}"
        )
    return path


def _check_size(shard: str, schema: pa.Schema) -> None:
    expected = int((schema.metadata or {}).get(b"vlp_shard_bytes", b"-1"))
    actual = Path(shard).stat().st_size
    if expected != actual:
        raise DamagedShardError(
            f"{shard} has {actual} bytes but was indexed with {expected}: it was replaced or "
            f"cut; check it and run: python -m data_tools index {shard}"
        )
