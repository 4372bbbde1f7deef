"""Tar headers: 512 bytes, recognised by their checksum, also where a tar is damaged.

The layout is POSIX.1-1988 (ustar) with GNU's base-256 numbers. Fields are cut out by hand, since a
`tarfile.TarInfo` for each member takes several times as long.
"""

import os
from typing import NamedTuple
from zlib import adler32

import numpy as np

BLOCK = 512
_CHUNK = 1 << 20
_MAGIC, _MAGIC_AT = b"ustar", 257
_CHECKSUM = slice(148, 156)
_CHECKSUM_DIGITS = np.isin(np.arange(256), list(b"01234567 \0"))
_GNU_KINDS = b"LKS"


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


def find_header(file: int, start: int, stop: int) -> int | None:
    """The first place in [start, stop) where a header begins, None without one.

    Looks at every block after `start`, and for headers with the ustar magic at every byte, as lost
    bytes move what follows.
    """
    for at in range(start, stop, _CHUNK):
        chunk = os.pread(file, _CHUNK + BLOCK - 1, at)
        places = [_by_magic(chunk), _by_checksum(chunk)]
        found = min((at + place for place in places if place is not None), default=stop)
        if found < stop:
            return found
    return None


def find_magic(file: int, start: int, stop: int) -> int | None:
    """As `find_header`, for headers that lie wholly in [start, stop) and have the ustar magic."""
    for at in range(start, stop, _CHUNK):
        chunk = os.pread(file, min(_CHUNK + BLOCK - 1, stop - at), at)
        place = _by_magic(chunk)
        if place is not None:
            return at + place
    return None


def _by_magic(chunk: bytes) -> int | None:
    place = chunk.find(_MAGIC, _MAGIC_AT)
    while place >= 0:
        begin = place - _MAGIC_AT
        if read_header(chunk[begin : begin + BLOCK]):
            return begin if begin < _CHUNK else None
        place = chunk.find(_MAGIC, place + 1)
    return None


def _by_checksum(chunk: bytes) -> int | None:
    count = min(len(chunk), _CHUNK) // BLOCK
    fields = np.frombuffer(chunk, np.uint8, count * BLOCK).reshape(count, BLOCK)[:, _CHECKSUM]
    likely = _CHECKSUM_DIGITS[fields].all(axis=1) & fields.any(axis=1)
    for row in np.flatnonzero(likely).tolist():
        if read_header(chunk[row * BLOCK : (row + 1) * BLOCK]):
            return int(row) * BLOCK
    return None
