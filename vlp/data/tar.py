"""Tar shards, read and written without trust.

Both the `webdataset` reader and GNU tar take several kinds of damage (a cut at a member boundary or
inside a header, a zeroed header, a bad checksum) for a clean end of the archive and lose the rest
of the shard without a word. `scan` walks the 512-byte blocks itself and raises instead.
"""

import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

BLOCK = tarfile.BLOCKSIZE
_END = bytes(BLOCK)
_LONGEST_END = 1 << 20  # bytes: the end mark with the zeros that fill a writer's last record


class DamagedShardError(ValueError):
    """A shard that cannot be read to its end; the message names the file, the place and the key."""


@dataclass(frozen=True)
class Member:
    """A file inside a tar: its name and where its bytes are."""

    name: str
    offset: int  # bytes from the start of the tar to the first byte of the data
    size: int  # bytes


def scan(path: str | Path) -> Iterator[Member]:
    """Every regular file of a tar, in order.

    Raises:
        DamagedShardError: the archive is cut, overwritten or no tar at all.
    """
    last = "none"
    with open(path, "rb") as file:
        total = os.fstat(file.fileno()).st_size
        long_name: str | None = None
        while True:
            start = file.tell()
            header = file.read(BLOCK)
            if header == _END:
                _expect_end(path, file, start, last)
                return
            try:
                info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            except tarfile.HeaderError as error:
                what = "the end-of-archive mark is missing" if not header else str(error)
                raise DamagedShardError(
                    f"{path}: damaged at byte {start} of {total} ({what}); last good member: {last}"
                ) from None
            data = file.tell()
            after = data + -(-info.size // BLOCK) * BLOCK
            if not data <= after <= total:
                raise DamagedShardError(
                    f"{path}: cut inside {long_name or info.name!r} at byte {total} "
                    f"(it should reach byte {after}); last good member: {last}"
                )
            if info.type == tarfile.GNUTYPE_LONGNAME:
                long_name = file.read(info.size).rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif info.type == tarfile.XHDTYPE:
                long_name = _pax_path(path, start, file.read(info.size)) or long_name
            elif info.isreg():
                last = long_name or info.name
                yield Member(last, data, info.size)
                long_name = None
            else:
                long_name = None
            file.seek(after)


def _expect_end(path: str | Path, file: io.BufferedReader, start: int, last: str) -> None:
    """After one zero block only a few zeros may follow.

    Anything else is an overwritten header, and many of them are room that was reserved for a
    download and never filled.
    """
    while chunk := file.read(1 << 20):
        if chunk.count(0) != len(chunk):
            raise DamagedShardError(
                f"{path}: a zeroed header at byte {start} hides the samples behind it; "
                f"last good member: {last}"
            )
    if file.tell() - start > _LONGEST_END:
        raise DamagedShardError(
            f"{path}: nothing but zeros from byte {start} to {file.tell()}, far more than an end "
            f"mark: a download that was not finished?; last good member: {last}"
        )


def _pax_path(path: str | Path, start: int, records: bytes) -> str | None:
    """The `path` of a pax extended header: records are 'LENGTH KEY=VALUE\\n'."""
    while records:
        length, _, rest = records.partition(b" ")
        if not length.isdigit() or int(length) <= len(length):
            raise DamagedShardError(f"{path}: damaged extended header at byte {start}")
        key, _, value = rest[: int(length) - len(length) - 1].partition(b"=")
        if key == b"path":
            return value.rstrip(b"\n").decode("utf-8", "surrogateescape")
        records = records[int(length) :]
    return None


def split_name(name: str) -> tuple[str, str]:
    """(key, extension) of a member: the key ends at the first dot of the file name.

    The extension is lower-cased, as every WebDataset reader does.
    """
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, _, extension = base.partition(".")
    return f"{folder}{slash}{stem}", extension.lower()


def write_tar(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Write samples (key, {extension: bytes}) as a reproducible USTAR tar, flushed to the disk.

    Owner, mode and time are fixed, so that equal samples give equal bytes. The caller renames the
    file into place.
    """
    with open(path, "wb") as raw:
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for key, members in samples:
                for extension, data in members.items():
                    info = tarfile.TarInfo(f"{key}.{extension}")
                    info.size = len(data)
                    info.mode = 0o644
                    tar.addfile(info, io.BytesIO(data))
        raw.flush()
        os.fsync(raw.fileno())
