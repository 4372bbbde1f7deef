"""What an input is turned into before it is written: pictures with their captions, by split."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One input picture; `status` is 'success' until something is found wrong with it."""

    source: str  # as the input names it
    captions: tuple[str, ...] = ()  # NFC, stripped, none empty
    extra: Mapping[str, Any] = field(default_factory=dict)  # further columns of the table
    label: int | None = None  # zero-based class
    status: str = "success"
    message: str = ""
    dropped_captions: int = 0  # empty or bad ones beside those in `captions`


class Reader(Protocol):
    """Gives the bytes of a picture by its `source`; it is sent to worker processes."""

    def read(self, source: str) -> bytes:
        """The picture's bytes; raises OSError when there are none."""

    def size(self, source: str) -> int:
        """Bytes, or -1 when it cannot be known; part of the input's fingerprint."""


@dataclass(frozen=True, kw_only=True)
class FileReader:
    """Pictures that are files, named relative to a folder or absolutely."""

    folder: Path

    def read(self, source: str) -> bytes:
        return (self.folder / source).read_bytes()

    def size(self, source: str) -> int:
        try:
            return (self.folder / source).stat().st_size
        except (OSError, ValueError):
            return -1


@dataclass(frozen=True, kw_only=True)
class Collection:
    """A whole input: its pictures by split ('' where the input has no splits)."""

    kind: str  # one line for the user: what the input was taken for
    splits: Mapping[str, Sequence[Picture]]
    reader: Reader
    classnames: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()


def with_captions(picture: Picture, raw: Sequence[str]) -> Picture:
    """The picture with its captions cleaned; what is empty or bad is dropped and counted."""
    good: list[str] = []
    problem = ""
    for text in raw:
        clean = unicodedata.normalize("NFC", text.replace("\ufeff", "")).strip()
        bad = "a NUL character" if "\0" in clean else _surrogate(clean)
        if bad:
            problem = problem or f"the caption {clean[:40]!r} holds {bad}"
        elif clean:
            good.append(clean)
    if good:
        status, message = "success", ""
    elif problem:
        status, message = "bad_caption", problem
    else:
        status, message = "empty_caption", "no caption that is not empty"
    return Picture(
        source=picture.source,
        captions=tuple(good),
        extra=picture.extra,
        label=picture.label,
        status=status,
        message=message,
        dropped_captions=len(raw) - len(good),
    )


def _surrogate(text: str) -> str:
    lone = any("\ud800" <= character <= "\udfff" for character in text)
    return "half of a surrogate pair, which is no text" if lone else ""
