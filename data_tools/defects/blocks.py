"""Headers found again where a tar is damaged: by their checksum, wherever they lie."""

import os

import numpy as np

from vlp.data.tar_header import BLOCK, read_header

_CHUNK = 1 << 20
_MAGIC, _MAGIC_AT = b"ustar", 257
_CHECKSUM = slice(148, 156)
_CHECKSUM_DIGITS = np.isin(np.arange(256), list(b"01234567 \0"))


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
