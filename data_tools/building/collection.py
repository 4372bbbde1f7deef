"""What an input is turned into before it is written: pictures with their captions, by split."""

import errno
import math
import os
import re
import reprlib
import stat
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from vlp.data.files import is_text
from vlp.errors import InputError
from vlp.terminal import printable

UNASSIGNED = "unassigned"  # the split of inputs whose split value is empty
_RESERVED_FOLDERS = ("annotations", "classification")
_LARGEST = 1 << 30  # bytes of a file; the largest picture that is decoded has 800 MB as it is
_URL = re.compile(r"[a-z][a-z0-9+.-]*://|pipe:", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a table, or fields of a sample, that have a meaning."""

    image: str = "image"
    caption: str = "caption"
    split: str | None = None

    def __post_init__(self) -> None:
        named: dict[str, str] = {}
        for field_name, column in vars(self).items():
            if column is not None and column in named:
                raise InputError(
                    f"--{field_name}-column {column}: is --{named[column]}-column already"
                )
            named[column] = field_name


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One input picture; `status` is 'success' until something is found wrong with it.

    `location` says where the picture lies inside of another file: its path, the place there (the
    offset in a tar, the row of a table) and the bytes of the picture.
    """

    source: str  # as the input names it
    captions: tuple[str, ...] = ()  # NFC, stripped, none empty
    extra: Mapping[str, Any] = field(default_factory=dict)  # further columns of the table
    label: int | None = None  # zero-based class
    status: str = "success"
    message: str = ""
    dropped_captions: int = 0  # empty or bad ones beside those in `captions`
    location: tuple[str, int, int] | None = None


class Reader(Protocol):
    """Gives the bytes of a picture; it is sent to worker processes."""

    def read(self, picture: Picture) -> bytes:
        """The picture's bytes; raises OSError when there are none."""

    def size(self, picture: Picture) -> int:
        """Bytes, or -1 when it cannot be known; part of the input's fingerprint."""


def read_file(path: Path) -> bytes:
    """The bytes of a regular file: a pipe would be waited for, and a device might never end.

    Raises:
        OSError: it is something else, or so large that it would fill the memory.
    """
    state = path.stat()
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(state.st_mode):
        raise OSError("a pipe, socket or device, but only files are read")
    check_bytes(state.st_size)
    return path.read_bytes()


def check_bytes(size: int) -> None:
    """Raises OSError for a size in bytes that no picture has."""
    if size > _LARGEST:
        raise OSError(f"{size:,} bytes are more than the limit of {_LARGEST:,}")


@dataclass(frozen=True, kw_only=True)
class FileReader:
    """Pictures that are files, named relative to a folder or absolutely; links are followed."""

    folder: Path

    def read(self, picture: Picture) -> bytes:
        if _URL.match(picture.source):
            raise OSError("a URL, but only files are read: fetch it first, as img2dataset does")
        return read_file(self.folder / picture.source)

    def size(self, picture: Picture) -> int:
        try:
            return (self.folder / picture.source).stat().st_size
        except (OSError, ValueError):
            return -1


@dataclass(frozen=True)
class MemberReader:
    """Pictures whose `location` is a tar, the offset in it and their bytes; nothing is unpacked."""

    def read(self, picture: Picture) -> bytes:
        path, offset, size = _located(picture)
        check_bytes(size)
        with open(path, "rb") as file:
            data = os.pread(file.fileno(), size, offset)
        if len(data) != size:
            raise OSError(f"{path} was cut after it was listed")
        return data

    def size(self, picture: Picture) -> int:
        return -1 if picture.location is None else picture.location[2]


def _located(picture: Picture) -> tuple[str, int, int]:
    if picture.location is None:
        raise OSError("nothing says where it lies")
    return picture.location


@dataclass(frozen=True, kw_only=True)
class Collection:
    """A whole input: its pictures by split ('' where the input has no splits)."""

    kind: str  # one line for the user: what the input was taken for
    splits: Mapping[str, Sequence[Picture]]
    reader: Reader
    classnames: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()  # tables and tars that are read: a build may not replace them
    searched: Path | None = None  # the folder of which every tar is input
    options: frozenset[str] = frozenset()  # of the command, those that only some inputs use


def with_captions(picture: Picture, raw: Sequence[str]) -> Picture:
    """The picture with its captions cleaned; what is empty or bad is dropped and counted.

    A status that the picture has already is kept.
    """
    good: list[str] = []
    problem = ""
    for text in raw:
        clean = normalised(text)
        bad = "a NUL character" if "\0" in clean else _surrogate(clean)
        if bad:
            problem = problem or f"the caption {clean[:40]!r} holds {bad}"
        elif clean:
            good.append(clean)
    if picture.status != "success":
        status, message = picture.status, picture.message
    elif good:
        status, message = "success", ""
    elif problem:
        status, message = "bad_caption", problem
    else:
        status, message = "empty_caption", "no caption that is not empty"
    return replace(
        picture,
        captions=tuple(good),
        status=status,
        message=message,
        dropped_captions=len(raw) - len(good),
    )


def normalised(text: str) -> str:
    """A caption in Unicode's form NFC, without byte order mark and outer blanks."""
    return unicodedata.normalize("NFC", text.replace("\ufeff", "")).strip()


def _surrogate(text: str) -> str:
    lone = any("\ud800" <= character <= "\udfff" for character in text)
    return "half of a surrogate pair, which is no text" if lone else ""


def split_name(value: object, column: str, place: str) -> str:
    """The folder of a split, by what a column or field says of it.

    Raises:
        InputError: it cannot name a folder.
    """
    if not isinstance(value, str | int | float | None):
        raise InputError(f"{place}: column {column!r} holds {reprlib.repr(value)}, not a name")
    name = "" if value is None or value != value else str(value).strip()
    unfit = any(sign in name for sign in "/\\\n") or name.startswith(".") or not is_text(name)
    unfit |= printable(name) != name
    if unfit or name in _RESERVED_FOLDERS:
        raise InputError(
            f"{place}: column {column!r} holds {name!r}, which cannot name a folder "
            f"(no slash, control sign or leading dot, none of {', '.join(_RESERVED_FOLDERS)})"
        )
    return name or UNASSIGNED


def plain(value: Any) -> Any:  # noqa: ANN401 (any value of a table)
    """A value as JSON can hold it: what is not a number becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | None) else str(value)
