"""`index.json`: what an index consists of. Replacing it is how every change becomes visible."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from vlp.data.files import write_json
from vlp.errors import InputError

MANIFEST_FILE = "index.json"
SCHEMA = 1
_COUNTS = ("dim", "generation", "next_id", "removed_rows")
Modality = Literal["image", "text"]


@dataclass(frozen=True, kw_only=True)
class ModelMark:
    """The model whose space the vectors live in."""

    source: str  # what `vlp.load` takes
    fingerprint: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.source}, fingerprint {self.fingerprint[:12]})"


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Rows that were added together: immutable files that begin with `name`."""

    name: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class BackendMark:
    """How nearest rows are found; `state` is what the backend wrote down about its own files."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything that belongs to an index. Files that it does not name are leftovers.

    Args:
        generation: counts the changes; new files are named by it.
        dim: of the vectors.
        modality: what a row is.
        model: None for foreign embeddings whose model nobody told.
        next_id: the id of the next row; ids are never used twice.
        removed: file of the ids that were removed and still have a row, if any.
        removed_rows: how many they are.
        background: file of the background's vectors, if there is one.
        sources: the data that `refresh` looks through, with the options to read them.
        aside: file of the data's pictures that have no row, copies and unreadable ones, if any.
    """

    dim: int
    modality: Modality
    model: ModelMark | None
    backend: BackendMark
    generation: int = 0
    next_id: int = 0
    segments: tuple[Segment, ...] = ()
    removed: str | None = None
    removed_rows: int = 0
    background: str | None = None
    sources: tuple[dict[str, Any], ...] = ()
    aside: str | None = None
    schema: int = SCHEMA

    @property
    def rows(self) -> int:
        """Rows on disk, those of removed pictures included."""
        return sum(segment.rows for segment in self.segments)

    @property
    def live_rows(self) -> int:
        """Rows that can be found."""
        return self.rows - self.removed_rows


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an index.

    Raises:
        InputError: the folder is no index, or its manifest cannot be read.
    """
    path = folder / MANIFEST_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder} is no index: it has no {MANIFEST_FILE}") from None
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else content
        raise InputError(f"{path}: schema {found!r}; this version reads {SCHEMA}")
    try:
        manifest = Manifest(
            **{
                **content,
                "model": content["model"] and ModelMark(**content["model"]),
                "backend": BackendMark(**content["backend"]),
                "segments": tuple(Segment(**segment) for segment in content["segments"]),
                "sources": tuple(content["sources"]),
            }
        )
        _check(manifest)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is no manifest of an index: {error}") from None
    return manifest


def _check(manifest: Manifest) -> None:
    """Raise ValueError for what no index has, and for names that lead out of its folder."""
    numbers = {name: getattr(manifest, name) for name in _COUNTS}
    numbers |= {f"rows of {segment.name}": segment.rows for segment in manifest.segments}
    for name, number in numbers.items():
        if not isinstance(number, int) or number < 0:
            raise ValueError(f"{name} is {number!r}")
    files = [manifest.removed, manifest.background, manifest.aside]
    files += [segment.name for segment in manifest.segments]
    files += manifest.backend.state.get("files", [])
    for file in files:
        is_name = isinstance(file, str) and file == Path(file).name and file not in ("", "..")
        if file is not None and not is_name:
            raise ValueError(f"the name of a file is {file!r}")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Commit: from here on readers see the new state."""
    write_json(folder / MANIFEST_FILE, asdict(manifest))
