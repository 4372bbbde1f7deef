"""Progress on stderr: a bar on a terminal, now and then a line where the output is a file."""

import sys
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

_SILENT_FOR = 2.0  # seconds; what is done by then shows nothing
_BETWEEN_LINES = 15.0  # seconds


class _Lines:
    """A stream on which a bar's redrawing becomes lines."""

    def write(self, text: str) -> None:
        if text.strip():
            sys.stderr.write(text.strip() + "\n")

    def flush(self) -> None:
        sys.stderr.flush()


def bar(what: str, unit: str, total: int | None = None) -> "tqdm[Any]":
    """A bar to `update` by hand, with rate and, where `total` is known, time left."""
    return _bar(None, what, unit, total)


def watched(items: Iterable[Item], what: str, unit: str) -> "tqdm[Item]":
    """The items, with a bar that moves as they are taken."""
    return _bar(items, what, unit, None)


def _bar(items: Iterable[Any] | None, what: str, unit: str, total: int | None) -> "tqdm[Any]":
    terminal = sys.stderr.isatty()
    return tqdm(
        items,
        desc=what,
        total=total,
        unit=f" {unit}",
        delay=_SILENT_FOR,
        file=None if terminal else _Lines(),
        mininterval=0.1 if terminal else _BETWEEN_LINES,
        maxinterval=max(10.0, _BETWEEN_LINES),
    )
