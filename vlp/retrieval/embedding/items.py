"""What is embedded: a picture, what is said of it, and by what a change of it shows."""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Scalar: TypeAlias = "str | int | float | bool | None"
Say: TypeAlias = Callable[[str], None]
ABSENT = -1  # bytes of a file that is not there


@dataclass(frozen=True, slots=True)
class Item:
    """A picture of the data.

    Args:
        image_path: absolute, as `vlp.retrieval.pictures.read_picture` takes it.
        captions: of the picture, the first is the one that is embedded.
        metadata: further columns.
        mark: another one when the picture or its row changed.
        size: of the picture in bytes, negative if it is not there.
    """

    image_path: str
    captions: tuple[str, ...]
    metadata: Mapping[str, Scalar]
    mark: str
    size: int

    @property
    def caption(self) -> str | None:
        """The caption that is embedded."""
        return self.captions[0] if self.captions else None


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How tables are read.

    Args:
        image_column: of a table, with paths or with the pictures' bytes; found by its name without.
        caption_column: of a table, a text or a list of texts; found by its name without.
        images: folder where a table's relative paths start; the table's own without.
    """

    image_column: str | None = None
    caption_column: str | None = None
    images: str | None = None


def file_facts(path: str) -> tuple[int, str]:
    """(size in bytes, mark) of a file, without opening it."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # also a name that no system takes
        return ABSENT, "absent"
    if not stat.S_ISREG(found.st_mode):
        return ABSENT, "no file"
    return found.st_size, f"{found.st_size}:{found.st_mtime_ns}"


def row_mark(mark: str, row: Any) -> str:  # noqa: ANN401 (what JSON takes)
    """The mark of a file together with what a table or a text beside it says of the picture."""
    told = json.dumps(row, sort_keys=True, default=str).encode()
    return f"{mark}:{hashlib.sha256(told).hexdigest()[:16]}"
