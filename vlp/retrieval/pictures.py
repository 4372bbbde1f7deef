"""The bytes of a picture by its path, which may lead through a shard or a parquet table.

`/data/00000.tar/KEY.jpg` is a member of an indexed tar, `/data/part.parquet/image/17` the picture
in row 17 of the column `image`, counted from 0.
"""

import errno
import functools
import os
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vlp.data.index import ShardIndex, sidecar_path
from vlp.data.tar import DamagedShardError, split_name
from vlp.errors import InputError

MOST_BYTES = 1 << 30  # of a file that may be a picture
_THROUGH = (".tar", ".parquet")


class MissingPictureError(InputError):
    """There is no picture at a path; the message names it."""


def read_picture(image_path: str, last: int | None = None) -> bytes:
    """The bytes at a path, whatever they are.

    Args:
        last: only so many bytes, of the end.

    Raises:
        MissingPictureError: nothing is there, it cannot be read, or it is no regular file.
    """
    try:
        return _file_bytes(image_path, last)
    except NotADirectoryError:
        pass  # the path leads through a file
    except (OSError, ValueError) as error:
        raise _missing(image_path, error) from None
    container = _container(image_path)
    if container is None:
        raise MissingPictureError(f"{image_path}: no such file")
    inner = image_path[len(container) + 1 :]
    try:
        read = _member_bytes if container.endswith(".tar") else _row_bytes
        return read(container, inner, last)
    except MissingPictureError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _missing(image_path, error) from None


def _missing(image_path: str, error: Exception) -> MissingPictureError:
    if "://" in image_path:
        return MissingPictureError(f"{image_path}: addresses are not fetched")
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    return MissingPictureError(f"{image_path}: {reason[:1].lower()}{reason[1:]}")


def _file_bytes(path: str, last: int | None) -> bytes:
    # a pipe would block for ever, so what is opened is looked at before it is read
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is no regular file")
        if found.st_size > MOST_BYTES:
            raise OSError(errno.EFBIG, f"has {found.st_size:,} bytes, more than a picture has")
        return _read(descriptor, 0, found.st_size, last)
    finally:
        os.close(descriptor)


def _read(descriptor: int, offset: int, size: int, last: int | None) -> bytes:
    """`pread`, which may give less than what it is asked for, until it ends."""
    if last is not None and last < size:
        offset, size = offset + size - last, last
    parts = []
    while size > 0 and (part := os.pread(descriptor, size, offset)):
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return b"".join(parts)


def _container(image_path: str) -> str | None:
    """The tar or parquet that a path leads through."""
    at = len(image_path)
    while (at := image_path.rfind("/", 0, at)) > 0:
        if image_path[:at].endswith(_THROUGH) and os.path.isfile(image_path[:at]):
            return image_path[:at]
    return None


def _member_bytes(shard: str, name: str, last: int | None) -> bytes:
    index = _shard_index(shard, *_times(shard, str(sidecar_path(shard, "index"))))
    key, extension = split_name(name)
    row = index.find(key)
    member = None if row is None else index.members(row).get(extension)
    if member is None:
        raise MissingPictureError(f"{shard}/{name}: the shard has no such member")
    descriptor = os.open(shard, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = _read(descriptor, member.offset, member.size, last)
    finally:
        os.close(descriptor)
    if len(data) < min(member.size, last or member.size):
        raise DamagedShardError(f"the shard ends before byte {member.offset + member.size}")
    return data


def _times(*paths: str) -> tuple[int, ...]:
    """By which a cached file is known to be the one that is there."""
    return tuple(os.stat(path).st_mtime_ns if os.path.exists(path) else 0 for path in paths)


@functools.lru_cache(maxsize=64)
def _shard_index(shard: str, *times: int) -> ShardIndex:
    return ShardIndex.read(shard)


def _row_bytes(path: str, inner: str, last: int | None) -> bytes:
    column, _, row = inner.rpartition("/")
    times = _times(path)
    ends = _group_ends(path, *times)
    if not row.isdecimal() or not column or int(row) >= ends[-1]:
        raise MissingPictureError(f"{path}/{inner}: the table has no such row")
    group = next(number for number, end in enumerate(ends[1:]) if int(row) < end)
    cell = _group_column(path, group, column, *times)[int(row) - ends[group]].as_py()
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(data, bytes):
        raise MissingPictureError(f"{path}/{inner}: the row has no picture")
    return data[-last:] if last else data


@functools.lru_cache(maxsize=64)
def _group_ends(path: str, *times: int) -> list[int]:
    """Where each row group begins, and the number of rows."""
    told = pq.read_metadata(path)
    ends = [0]
    for number in range(told.num_row_groups):
        ends.append(ends[-1] + told.row_group(number).num_rows)
    return ends


@functools.lru_cache(maxsize=2)
def _group_column(path: str, group: int, column: str, *times: int) -> pa.ChunkedArray:
    with pq.ParquetFile(Path(path)) as file:
        if column not in file.schema_arrow.names:
            raise MissingPictureError(f"{path}: the table has no column {column!r}")
        return file.read_row_group(group, columns=[column]).column(0)
