"""Tar headers: 512 bytes, recognised by their checksum.

The layout is POSIX.1-1988 (ustar) with GNU's base-256 numbers. Fields are cut out by hand, since a
`tarfile.TarInfo` for each member takes several times as long.
"""

import os
import tarfile
from typing import NamedTuple
from zlib import adler32

BLOCK = 512
_CHECKSUM = slice(148, 156)
_GNU_KINDS = b"LKS"
_LONGEST_NAME = 100  # bytes
_LARGEST = 8**11  # bytes that eleven octal digits cannot tell any more
_WINDOW = 1 << 14  # bytes read at a time; the headers of a sample's texts lie close together


class Header(NamedTuple):
    """What a header says of its member."""

    kind: bytes  # type flag
    name: bytes
    size: int  # bytes


def read_header(block: bytes) -> Header | None:
    """The header in a block, None where there is none: cut, zeros, or a checksum that fails."""
    if len(block) != BLOCK or not _is_sound(block):
        return None
    size = _number(block[124:136])
    name = block[:100].partition(b"\0")[0]
    kind = block[156:157]
    if block[345] and kind not in _GNU_KINDS:
        name = block[345:500].partition(b"\0")[0] + b"/" + name
    return Header(kind, name, size) if size >= 0 and (name or kind in _GNU_KINDS) else None


def ustar_header(name: str, size: int) -> bytes:
    """The header of a file with fixed owner, mode and time: equal files give equal bytes.

    Raises:
        ValueError: neither fits into such a header.
    """
    text = name.encode("utf-8", "surrogateescape")
    if len(text) > _LONGEST_NAME or not 0 <= size < _LARGEST:
        return _tarfile_header(name, size)
    digits = b"%011o" % size
    total = _BASE_SUM + sum(text) + sum(digits)
    head = text.ljust(_LONGEST_NAME, b"\0") + _BASE[_LONGEST_NAME:124] + digits + _BASE[135:148]
    return head + b"%06o\0 " % total + _BASE[156:]


def _tarfile_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")


_BASE = _tarfile_header("", 0)
# of a header without name, digits of the size, and with blanks for the checksum
_BASE_SUM = sum(_BASE[:124]) + sum(_BASE[135:148]) + sum(b" " * 8) + sum(_BASE[156:])


def _is_sound(block: bytes) -> bool:
    field = block[_CHECKSUM]
    try:
        stored = int(field.strip(b" \0"), 8)
    except ValueError:
        return False
    # adler32's low half is 1 + the sum of the bytes, modulo 65521, which 256 bytes cannot reach
    total = (adler32(block) & 0xFFFF) - 1 if block.count(0) >= 256 else sum(block)
    if total - sum(field) + 256 == stored:
        return True
    signed = sum(byte - 256 if byte > 127 else byte for byte in block)  # as old writers summed
    return signed - sum(byte - 256 if byte > 127 else byte for byte in field) + 256 == stored


def _number(field: bytes) -> int:
    """Octal digits, or base 256 after a first byte 0x80; -1 for anything else."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    try:
        return int(field.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return -1


class Window:
    """Bytes of a file by `pread`, read ahead a little.

    Args:
        file: a descriptor.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self.total = os.fstat(file).st_size
        self._data, self._begin = b"", 0

    def read(self, at: int, size: int) -> bytes:
        """The bytes from `at` on, fewer where the file ends."""
        begin = at - self._begin
        if begin < 0 or begin + size > len(self._data):
            self._data, self._begin, begin = os.pread(self._file, max(size, _WINDOW), at), at, 0
        return self._data[begin : begin + size]
