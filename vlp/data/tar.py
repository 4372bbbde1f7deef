"""Tar shards, read and written without trust.

Both the `webdataset` reader and GNU tar take several kinds of damage (a cut at a member boundary or
inside a header, a zeroed header, a bad checksum) for a clean end of the archive and lose the rest
of the shard without a word. `scan` walks the 512-byte blocks itself and raises instead.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from vlp.data.tar_header import BLOCK, Window, read_header, ustar_header

_END = bytes(BLOCK)
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_SPECIAL = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
_WITHOUT_DATA = (*_SPECIAL, tarfile.DIRTYPE)
_LONGEST_END = 1 << 20  # bytes: the end mark with the zeros that fill a writer's last record


class DamagedShardError(ValueError):
    """A shard that cannot be read to its end; the message names the file, the place and the key."""


class Member(NamedTuple):
    """A file inside a tar: its name and where its bytes are."""

    name: str
    offset: int  # bytes from the start of the tar to the first byte of the data
    size: int  # bytes


def scan(path: str | Path, special: list[str] | None = None) -> Iterator[Member]:
    """Every regular file of a tar, in order.

    Args:
        special: gets the names of what is neither a file nor a folder: links and devices.

    Raises:
        DamagedShardError: the archive is cut, overwritten or no tar at all.
    """
    last, at = "none", 0
    with open(path, "rb") as file:
        window = Window(file.fileno())
        long_name: str | None = None
        while True:
            block = window.read(at, BLOCK)
            if block == _END:
                _expect_end(path, file, at, last)
                return
            header = read_header(block)
            if header is None or header.kind == tarfile.GNUTYPE_SPARSE:
                raise DamagedShardError(
                    f"{path}: damaged at byte {at} of {window.total} ({_about(block)}); "
                    f"last good member: {last}"
                )
            data, size = at + BLOCK, 0 if header.kind in _WITHOUT_DATA else header.size
            name = long_name or header.name.decode("utf-8", "surrogateescape")
            at = data + -(-size // BLOCK) * BLOCK
            if at > window.total:
                raise DamagedShardError(
                    f"{path}: cut inside {name!r} at byte {window.total} "
                    f"(it should reach byte {at}); last good member: {last}"
                )
            if header.kind == tarfile.GNUTYPE_LONGNAME:
                text = window.read(data, size).partition(b"\0")[0]
                long_name = text.decode("utf-8", "surrogateescape")
            elif header.kind == tarfile.XHDTYPE:
                long_name = _pax_path(path, data - BLOCK, window.read(data, size)) or long_name
            else:
                long_name = None
                if header.kind in _REGULAR and not name.endswith("/"):
                    last = name
                    yield Member(name, data, size)
                elif special is not None and header.kind in _SPECIAL:
                    special.append(name)


def _about(block: bytes) -> str:
    """What is wrong with a block that is no header."""
    if not block:
        return "the end-of-archive mark is missing"
    if len(block) < BLOCK:
        return "cut inside a header"
    return "sparse members are not read" if read_header(block) else "bad checksum"


def _expect_end(path: str | Path, file: io.BufferedReader, start: int, last: str) -> None:
    """After one zero block only a few zeros may follow.

    Anything else is an overwritten header, and many of them are room that was reserved for a
    download and never filled.
    """
    file.seek(start + BLOCK)
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


def write_tar(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> str:
    """Write samples (key, {extension: bytes}) as a reproducible USTAR tar, flushed to the disk.

    Returns the sha256 of the file as hexadecimal.

    Owner, mode and time are fixed, so that equal samples give equal bytes. The caller renames the
    file into place.
    """
    digest = hashlib.sha256()
    with open(path, "wb", buffering=1 << 20) as raw:
        for key, members in samples:
            blocks: list[bytes] = []
            for extension, data in members.items():
                header = ustar_header(f"{key}.{extension}", len(data))
                blocks += header, data, bytes(-len(data) % BLOCK)
            whole = b"".join(blocks)
            digest.update(whole)
            raw.write(whole)
        end = bytes(2 * BLOCK)
        end += bytes(-(raw.tell() + len(end)) % tarfile.RECORDSIZE)
        digest.update(end)
        raw.write(end)
        raw.flush()
        os.fsync(raw.fileno())
    return digest.hexdigest()
