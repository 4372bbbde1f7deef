"""A walk over a tar that no damage ends: it names what is wrong and goes on behind it.

Every byte of the file belongs to exactly one item: a member with its headers, a gap, or the end
mark.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

from data_tools.defects.blocks import find_header, find_magic
from vlp.data.tar_header import BLOCK, Header, Window, read_header

LONGEST_END = 1 << 20  # bytes: an end mark with the zeros that fill a writer's last record
_LONGEST_EXTENSION = 1 << 20  # bytes of a long name
_REGULAR = b"0\0007"
_WITHOUT_DATA = b"123456"  # links, devices, folders, pipes
_EXTENSIONS = b"LKxg"  # headers that tell of the next member
_GZIP = b"\x1f\x8b"


class Entry(NamedTuple):
    """A member; places are bytes from the start of the tar."""

    start: int  # of its first header
    data: int
    size: int
    end: int  # where the next header is
    kind: bytes  # type flag; regular files are b"0"
    name: bytes


class Gap(NamedTuple):
    """Bytes that are no member, and why; none where only an end mark is missing."""

    code: str
    start: int
    end: int
    detail: str


class End(NamedTuple):
    """The end mark with the zeros behind it."""

    start: int
    end: int


Item = Entry | Gap | End


class Walk:
    """The items of a tar, in order.

    Args:
        file: a descriptor, read by `pread`.
        thorough: look for headers inside the data of each member too, where a tar that lost bytes
            hides whole members. Reads every byte.
    """

    def __init__(self, file: int, thorough: bool = False) -> None:
        self._file = file
        self.total = os.fstat(file).st_size
        self._thorough = thorough
        self._read = Window(file).read

    def __iter__(self) -> Iterator[Item]:
        at: int | None = 0
        held: Entry | None = None  # it is sound when a header or an end mark follows
        while at is not None:
            header = read_header(self._read(at, BLOCK))
            if header is None and held is not None and not self._is_end(at):
                hidden = self._hidden(held)
                if hidden is not None:
                    yield self._missing(held, hidden)
                    held, at = None, hidden
                    continue
            if held is not None:
                yield held
                held = None
            if header is None:
                items, at = self._without_header(at)
                yield from items
                continue
            item, at = self._member(at, header)
            if isinstance(item, Entry):
                held = item
            else:
                yield item
        if held is not None:
            yield held

    def _member(self, start: int, header: Header) -> tuple[Item, int | None]:
        at, name, size = start, None, None
        while header.kind in _EXTENSIONS:
            content = self._read(at + BLOCK, header.size) if _is_short(header) else b""
            read = _read_extension(header.kind, content) if len(content) == header.size else None
            after = min(at + BLOCK + _padded(header.size), self.total)
            following = read_header(self._read(after, BLOCK))
            if read is None or following is None:
                after = after if _is_short(header) else at + BLOCK
                return Gap("TAR_BAD_EXTENSION", start, after, "a long name that is cut"), after
            name, size = read[0] or name, read[1] if read[1] is not None else size
            at, header = after, following
        size = header.size if size is None else size
        kind = b"0" if header.kind in _REGULAR else header.kind
        if kind in _WITHOUT_DATA:
            size = 0
        data = at + BLOCK
        entry = Entry(start, data, size, data + _padded(size), kind, name or header.name)
        if data + size > self.total:
            return self._overrun(entry)
        if self._thorough and (hidden := self._hidden(entry)) is not None:
            return self._missing(entry, hidden), hidden
        if entry.end > self.total:  # the zeros that fill its last block are cut
            entry = entry._replace(end=self.total)
        return entry, entry.end

    def _overrun(self, entry: Entry) -> tuple[Gap, int | None]:
        hidden = self._hidden(entry)
        if hidden is not None:
            return self._missing(entry, hidden), hidden
        there = self.total - entry.data
        detail = f"{_shown(entry)} has {there:,} of {entry.size:,} bytes"
        return Gap("TAR_CUT_IN_DATA", entry.start, self.total, detail), None

    def _hidden(self, entry: Entry) -> int | None:
        """Where a header begins that lies, if only in part, in a member's data."""
        if not entry.size or entry.name.endswith(b".tar"):  # its data are headers
            return None
        return find_magic(self._file, entry.data, min(entry.end + BLOCK - 1, self.total))

    def _missing(self, entry: Entry, hidden: int) -> Gap:
        there = hidden - entry.data
        detail = f"{_shown(entry)} of {entry.size:,} bytes: a header {there:,} bytes behind its own"
        return Gap("TAR_BYTES_MISSING", entry.start, hidden, detail)

    def _is_end(self, at: int) -> bool:
        block = self._read(at, BLOCK)
        return not block or (len(block) == BLOCK and not block.strip(b"\0"))

    def _without_header(self, at: int) -> tuple[list[Gap | End], int | None]:
        """What is at a place where a header ought to be, and where to go on."""
        left = self.total - at
        block = self._read(at, BLOCK)
        if not self.total:
            return [Gap("FILE_EMPTY", 0, 0, "0 bytes")], None
        if not at and self._after_zeros(0) < self.total and self._is_no_tar(block):
            return [_no_tar(block, self.total)], None
        if not left:
            return [Gap("TAR_TRUNCATED", at, at, "no end mark; what followed is lost")], None
        if left < BLOCK:
            detail = f"{left} bytes of a header or end mark"
            return [Gap("TAR_CUT_IN_HEADER", at, self.total, detail)], None
        if not block.strip(b"\0"):
            return self._zeros(at)
        return self._resync(at, "TAR_BAD_CHECKSUM", "a header whose checksum is wrong")

    def _is_no_tar(self, block: bytes) -> bool:
        return block.startswith(_GZIP) or find_header(self._file, 0, self.total) is None

    def _zeros(self, at: int) -> tuple[list[Gap | End], int | None]:
        """An end mark, or zeros in the place of a header."""
        after = self._after_zeros(at)
        count = (after - at) // BLOCK
        if after == self.total:
            return self._end(at), None
        if count > 1 and read_header(self._read(after, BLOCK)):
            return [Gap("TAR_CONCATENATED", at, after, "readers stop at this end mark")], after
        if count > 1 and find_header(self._file, after, self.total) is None:
            detail = f"{self.total - after:,} bytes that are no member"
            return [End(at, after), Gap("TAR_GARBAGE_AFTER_END", after, self.total, detail)], None
        return self._resync(at, "TAR_ZEROED_HEADER", "readers take it for the end")

    def _end(self, at: int) -> list[Gap | End]:
        size = self.total - at
        if size > LONGEST_END:
            detail = f"{size:,} bytes of zeros: a download that was not finished?"
            return [Gap("TAR_ZEROS_TO_END", at, self.total, detail)]
        end: list[Gap | End] = [End(at, self.total)]
        if size < 2 * BLOCK:
            end.append(Gap("TAR_SHORT_END_MARK", self.total, self.total, f"{size} bytes of zeros"))
        return end

    def _after_zeros(self, at: int) -> int:
        """The block of the first byte from `at` on that is not zero."""
        for begin in range(at, self.total, 1 << 20):
            chunk = os.pread(self._file, 1 << 20, begin)
            rest = chunk.lstrip(b"\0")
            if rest:
                return begin + (len(chunk) - len(rest)) // BLOCK * BLOCK
        return self.total

    def _resync(self, at: int, code: str, what: str) -> tuple[list[Gap | End], int | None]:
        found = find_header(self._file, at, self.total)
        end = self.total if found is None else found
        return [Gap(code, at, end, f"{what}; {end - at:,} bytes skipped")], found


def _no_tar(block: bytes, total: int) -> Gap:
    if block.startswith(_GZIP):
        return Gap("TAR_GZIPPED", 0, total, "compressed by gzip: unpack it (gzip -d)")
    return Gap("NOT_A_TAR", 0, total, f"begins with {block[:32]!r}")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _is_short(header: Header) -> bool:
    return header.size <= _LONGEST_EXTENSION


def _read_extension(kind: bytes, content: bytes) -> tuple[bytes | None, int | None] | None:
    """(name, size) of the next member as far as told; None for damaged records."""
    if kind == b"L":
        return content.rstrip(b"\0"), None
    name, size = None, None
    while kind == b"x" and content.strip(b"\0"):
        length, _, rest = content.partition(b" ")  # pax: 'LENGTH KEY=VALUE\n'
        if not length.isdigit() or int(length) <= len(length) + 1:
            return None
        field, _, value = rest[: int(length) - len(length) - 1].rstrip(b"\n").partition(b"=")
        if field == b"path":
            name = value
        elif field == b"size":
            if not value.isdigit():
                return None
            size = int(value)
        content = content[int(length) :]
    return name, size


def _shown(entry: Entry) -> str:
    return repr(entry.name.decode("utf-8", "backslashreplace"))[:80]
