"""What was added to samples later: `annotations/NAME/SHARD.parquet`, joined by key and caption.

A row belongs to a sample only if both the key and the sha256 of the source caption agree; another
row's content is never used. Training and evaluation read rows by the same rules: texts that are
empty are dropped, and a row that is not what its columns promise is an error that names it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlp.data.index import sidecar_path

REWRITES, NEGATIVES, COUNTS, NEIGHBOURS, TEACHER, KEEP = (
    "rewrites",
    "negatives",
    "counts",
    "neighbours",
    "teacher",
    "keep",
)
COLUMNS: Mapping[str, tuple[str, ...]] = {
    REWRITES: ("texts",),
    NEGATIVES: ("texts", "kinds"),
    COUNTS: ("count", "noun"),
    NEIGHBOURS: ("shards", "keys"),
    TEACHER: ("image", "text"),
    KEEP: ("keep",),  # read by `vlp.data.keep`: it decides which samples there are
}
_JOINED_BY = ("key", "src_sha256")
_OPTIONAL = ("counterfactual",)  # read where it is there


def kind_of(name: str) -> str:
    """The kind of a sidecar: several of one kind are told apart by a suffix, `rewrites-bard`.

    Raises:
        ValueError: the name begins with no kind, or its suffix is empty.
    """
    kind, dash, suffix = name.partition("-")
    if kind not in COLUMNS or (dash and not suffix):
        raise ValueError(
            f"sidecar {name!r}: choices are {', '.join(COLUMNS)}, each also with a suffix "
            f"('{REWRITES}-NAME')"
        )
    return kind


def check_sidecar(key: str, name: str, shards: Sequence[str]) -> None:
    """Find out before anything runs that a sidecar of all shards is there and holds something.

    Args:
        key: of the configuration, for messages.

    Raises:
        FileNotFoundError: a shard has no such sidecar.
        ValueError: it is no parquet file, lacks columns, has no row for any shard, or was made by
            different settings for shards of one folder, as of two commands that ran at once.
    """
    rows, recipes = 0, dict[Path, bytes | None]()
    for shard in shards:
        path = sidecar_path(shard, name)
        if not path.is_file():
            raise FileNotFoundError(f"{key}: {path} is missing")
        try:
            _checked_columns(path, COLUMNS[kind_of(name)])
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
        told = pq.read_metadata(path)
        rows += told.num_rows
        recipe = (told.metadata or {}).get(b"vlp_recipe")
        if recipes.setdefault(path.parent, recipe) != recipe:
            raise ValueError(
                f"{key}: {path} was made by other settings than those of the shards before it; "
                "run the command that makes it again, with --restart"
            )
    if not rows:
        raise ValueError(f"{key}: {name} has no row for any sample of {len(shards)} shards")


def kinds_not_there(wanted: Sequence[str], name: str, shards: Sequence[str]) -> set[str]:
    """Which kinds of near misses no row of a negatives sidecar has."""
    left = set(wanted)
    for shard in shards:
        if not left:
            break
        column = pq.read_table(sidecar_path(shard, name), columns=["kinds"])["kinds"]
        left -= set(pc.list_flatten(column).unique().to_pylist())
    return left


def stored_width(name: str, shards: Sequence[str]) -> int:
    """The width of the embeddings in a teacher sidecar, from its first row."""
    for shard in shards:
        table = pq.read_table(sidecar_path(shard, name), columns=["image"])
        if len(table):
            return len(table["image"][0])
    raise ValueError(f"{name}: no row in {len(shards)} shards")


@dataclass(frozen=True)
class Count:
    """How many of what a caption tells. `counterfactual` is the caption with another number."""

    number: int
    noun: str
    counterfactual: str | None


@dataclass(frozen=True)
class Annotations:
    """What the sidecars of a source say of one sample."""

    rewrites: Sequence[tuple[str, str]] = ()  # (sidecar, text)
    negatives: Sequence[tuple[str, str]] = ()  # (kind, text)
    count: Count | None = None
    neighbours: Sequence[tuple[str, str]] = ()  # (shard's stem, key)
    # (image [D], texts [own captions, D]) by sidecar
    teachers: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None
    missing: tuple[str, ...] = ()  # sidecars that ought to have a row for every sample and lack one


@dataclass(frozen=True)
class Row:
    """What a sidecar says of one sample.

    Each way of reading it raises ValueError, with the sidecar's path and the sample's key, where it
    is something else.
    """

    path: Path
    values: Mapping[str, Any]

    def texts(self) -> list[str]:
        """The texts that are not empty."""
        return [text for text in self._list("texts") if text and text.strip()]

    def negatives(self) -> list[tuple[str, str]]:
        """(kind, text) of the texts that are not empty."""
        pairs = zip(*self._parallel("kinds", "texts"), strict=True)
        return [(self._some(kind, "kinds"), text) for kind, text in pairs if text and text.strip()]

    def count(self) -> Count | None:
        """How many of what; None where the number is null."""
        number = self.values["count"]
        if number is None:
            return None
        if isinstance(number, bool) or not isinstance(number, int | float) or number % 1 != 0:
            raise self._wrong(f"a whole number in `count`, got {number!r:.40}")
        noun, counterfactual = self.values["noun"], self.values.get("counterfactual")
        if not isinstance(noun, str | None) or not isinstance(counterfactual, str | None):
            raise self._wrong("texts in `noun` and `counterfactual`")
        return Count(int(number), noun or "", counterfactual)

    def neighbours(self) -> list[tuple[str, str]]:
        """(shard's stem, key)"""
        pairs = zip(*self._parallel("shards", "keys"), strict=True)
        return [(self._some(stem, "shards"), self._some(key, "keys")) for stem, key in pairs]

    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        """Image [D], texts [own captions, D]."""
        try:
            image, text = (np.asarray(self.values[side], np.float32) for side in ("image", "text"))
        except (TypeError, ValueError):  # no numbers, or rows of different length
            raise self._wrong("numbers in `image`, and lists of them in `text`") from None
        if image.ndim != 1 or text.ndim != 2 or image.shape[0] != text.shape[1]:
            raise self._wrong(
                f"`image` [D] and `text` [captions, D], got {image.shape} and {text.shape}"
            )
        return image, text

    def _parallel(self, first: str, second: str) -> tuple[list[str | None], list[str | None]]:
        one, two = self._list(first), self._list(second)
        if len(one) != len(two):
            raise self._wrong(f"as many {first} as {second}, got {len(one)} and {len(two)}")
        return one, two

    def _list(self, column: str) -> list[str | None]:
        found = self.values[column]
        if not isinstance(found, list) or not all(isinstance(e, str | None) for e in found):
            raise self._wrong(f"a list of texts in `{column}`, got {found!r:.40}")
        return found

    def _some(self, text: str | None, column: str) -> str:
        if text is None:
            raise self._wrong(f"a text at every place of `{column}`, got null")
        return text

    def _wrong(self, wanted: str) -> ValueError:
        return ValueError(f"{self.path}: sample {self.values['key']!r}: expected {wanted}")


class Sidecars:
    """The sidecars of one shard, in memory.

    Args:
        shard: path of the tar.
        names: which sidecars.
    """

    def __init__(self, shard: str, names: Sequence[str]) -> None:
        self._tables = {
            name: Table(sidecar_path(shard, name), COLUMNS[kind_of(name)]) for name in names
        }

    def of(self, key: str, src_sha256: str) -> Annotations:
        """Everything about one sample.

        Raises:
            ValueError: a row of it is not what its sidecar has to hold.
        """
        rewrites: list[tuple[str, str]] = []
        negatives: list[tuple[str, str]] = []
        found: dict[str, Any] = {"rewrites": rewrites, "negatives": negatives, "teachers": {}}
        missing = []
        for name, table in self._tables.items():
            kind, row = kind_of(name), table.row(key, src_sha256)
            if row is None:
                # most samples count nothing, and have no row at all
                if kind != COUNTS or table.is_stale(key, src_sha256):
                    missing.append(name)
                continue
            if kind == REWRITES:
                rewrites += [(name, text) for text in row.texts()]
            elif kind == NEGATIVES:
                negatives += row.negatives()
            elif kind == COUNTS:
                found["count"] = row.count()
            elif kind == NEIGHBOURS:
                found["neighbours"] = row.neighbours()
            else:
                found["teachers"][name] = row.embeddings()
        return Annotations(**found, missing=tuple(missing))


class Table:
    """One sidecar of one shard, in memory.

    Args:
        path: of the file.
        columns: that it must have besides those by which rows are joined.

    Raises:
        ValueError: it is no parquet file, or lacks columns.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        there = _checked_columns(path, columns)
        wanted = [*_JOINED_BY, *columns, *(name for name in _OPTIONAL if name in there)]
        try:
            self._table: pa.Table = pq.read_table(path, columns=wanted)
        except pa.ArrowException as error:
            raise _unreadable(path, columns, error) from None
        keys, digests = (self._table[c].to_pylist() for c in _JOINED_BY)
        self._rows = {pair: i for i, pair in enumerate(zip(keys, digests, strict=True))}

    def row(self, key: str, src_sha256: str) -> Row | None:
        """The row of a sample, None where there is none of its caption."""
        place = self._rows.get((key, src_sha256))
        if place is None:
            return None
        return Row(self.path, self._table.slice(place, 1).to_pylist()[0])

    def is_stale(self, key: str, src_sha256: str) -> bool:
        """Whether a sample has rows, and all of them belong to another caption."""
        return (key, src_sha256) not in self._rows and key in self._keys

    @cached_property
    def _keys(self) -> frozenset[str]:
        return frozenset(key for key, _ in self._rows)


def expected(columns: Sequence[str]) -> str:
    """What a sidecar has to be, for messages."""
    return f"a parquet file with the columns {', '.join([*_JOINED_BY, *columns])}"


def _checked_columns(path: Path, columns: Sequence[str]) -> list[str]:
    """The columns of a sidecar, found to be enough."""
    try:
        there: list[str] = pq.read_schema(path).names
    except pa.ArrowException as error:
        raise _unreadable(path, columns, error) from None
    lacking = [name for name in (*_JOINED_BY, *columns) if name not in there]
    if lacking:
        raise ValueError(f"{path} lacks {', '.join(lacking)}; expected {expected(columns)}")
    return there


def _unreadable(path: Path, columns: Sequence[str], error: Exception) -> ValueError:
    return ValueError(f"{path} cannot be read: {error}; expected {expected(columns)}")
