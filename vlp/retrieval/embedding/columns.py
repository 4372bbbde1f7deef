"""Columns of metadata: which values are kept, of which type, and under which name."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from vlp.errors import InputError
from vlp.retrieval.embedding.items import Item, Say, Scalar

OWN = (
    *("image_path", "caption", "captions", "sha256", "copies", "copy_marks", "mark"),
    *("width", "height"),
)
MEASURED = ("sha256", "width", "height")  # of the picture itself, whatever the data say
_RESERVED = (*OWN, "id", "indexed_from")  # the last two are an index's
_MOST_COLUMNS = 1000
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,18})")  # "007" is a name
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_TEXTS = pa.list_(pa.field("element", pa.string()))  # as parquet gives it back
_INT64 = range(-(2**63), 2**63)


@dataclass
class Columns:
    """Makes rows of metadata, and remembers what was left out or renamed.

    Args:
        renamed: name -> the name that it got.
        left_out: of values that are neither texts nor numbers.
        measured: that the picture itself tells.
    """

    renamed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, None] = field(default_factory=dict)
    measured: dict[str, None] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)

    def row(self, values: Mapping[str, Any]) -> dict[str, Scalar]:
        """What is kept of a row: texts, numbers and truth values.

        Raises:
            InputError: there are more columns than a table has.
        """
        kept: dict[str, Scalar] = {}
        for name, value in values.items():
            if name in MEASURED:
                self.measured[name] = None
            elif isinstance(value, dict | list | bytes | tuple):
                self.left_out[name] = None
            else:
                kept[self._name(name)] = _scalar(value)
        self._names |= kept.keys()
        if len(self._names) > _MOST_COLUMNS:
            raise InputError(
                f"more than {_MOST_COLUMNS} columns of metadata, e.g. {sorted(self._names)[-3:]}: "
                "are these names, or values?"
            )
        return kept

    def report(self, say: Say) -> None:
        """Tell what is not as the data have it."""
        for name, new in self.renamed.items():
            say(f"the column {name!r} becomes {new!r}")
        if self.measured:
            say(f"measured from the pictures, so not read: {', '.join(self.measured)}")
        if self.left_out:
            say(f"no columns, as they hold lists or records: {', '.join(self.left_out)}")

    def _name(self, name: str) -> str:
        if name not in _RESERVED and name.strip():
            return text(name)
        return self.renamed.setdefault(name, f"data_{name.strip() or 'unnamed'}")


def text(value: str) -> str:
    """A string that is surely Unicode: JSON may hold halves of characters."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def _scalar(value: object) -> Scalar:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if value in _INT64 else str(value)
    return text(str(value))


def typed(rows: Iterable[dict[str, Scalar]]) -> None:
    """Columns of texts that are all numbers become numbers, and empty ones of them null, in place.

    For tables whose every value is a text. Numbers with leading zeros are names, and stay.
    """
    rows = list(rows)
    for name in {name for row in rows for name in row}:
        values = {str(row[name]) for row in rows if row.get(name)}
        convert: type[int] | type[float]
        if values and all(_INTEGER.fullmatch(v) and int(v) in _INT64 for v in values):
            convert = int
        elif values and all(_NUMBER.fullmatch(v) and math.isfinite(float(v)) for v in values):
            convert = float
        else:
            continue
        for row in rows:
            if name in row:
                row[name] = convert(str(row[name])) if row[name] else None


def schema_of(items: Iterable[Item]) -> pa.Schema:
    """The columns of a table of these pictures; a column of several types is one of texts."""
    kinds: dict[str, set[type]] = {}
    several = False
    for item in items:
        several = several or len(item.captions) > 1
        for name, value in item.metadata.items():
            kinds.setdefault(name, set()).add(type(value))
    own: list[tuple[str, pa.DataType]] = [("image_path", pa.string()), ("caption", pa.string())]
    if several:
        own.append(("captions", _TEXTS))
    own += [
        ("sha256", pa.string()),
        ("copies", _TEXTS),
        ("copy_marks", _TEXTS),
        ("mark", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
    return pa.schema([*own, *((name, _type(found)) for name, found in kinds.items())])


def _type(found: set[type]) -> pa.DataType:
    found = found - {type(None)}
    if found == {int}:
        return pa.int64()
    if found == {bool}:
        return pa.bool_()
    if found and found <= {int, float}:
        return pa.float64()
    return pa.string()


def as_type(value: Scalar, kind: pa.DataType) -> Scalar:
    """A value as a column holds it."""
    if value is not None and pa.types.is_string(kind) and not isinstance(value, str):
        return str(value)
    return value
