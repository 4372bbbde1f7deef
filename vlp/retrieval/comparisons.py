"""Comparisons of metadata with values, in SQL's logic of true, false and unknown."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from vlp.errors import InputError

Truth: TypeAlias = pa.ChunkedArray | pa.Array  # [n] bool; null is SQL's unknown
_ORDER: dict[str, Callable[[Any, Any], Truth]] = {
    "=": pc.equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_FLIPPED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True)
class Value:
    """A value that the condition names.

    Args:
        value: a text, number or truth value; None for NULL.
    """

    value: str | int | float | bool | None

    @property
    def kind(self) -> str:
        """What it can be compared with."""
        if isinstance(self.value, bool):
            return "true or false"
        return "text" if isinstance(self.value, str) else "numbers"

    def __str__(self) -> str:
        what = {"text": "the text ", "numbers": "the number "}.get(self.kind, "")
        shown = repr(self.value) if isinstance(self.value, str) else str(self.value).lower()
        return what + shown


class Column:
    """A column of the metadata, in one of few types.

    A number that is NaN counts as missing.

    Args:
        name: of the column.
        values: [n].
    """

    def __init__(self, name: str, values: pa.ChunkedArray) -> None:
        self.name = name
        self.stored = values.type
        self.kind, wanted = _kind(values.type)
        self.values = values if wanted in (None, values.type) else values.cast(wanted)
        if pa.types.is_floating(self.values.type):
            self.values = pc.if_else(pc.is_nan(self.values), None, self.values)

    def __str__(self) -> str:
        return f"column {self.name!r} holds {self.kind} ({self.stored})"

    def scalar(self, value: Value) -> pa.Scalar | None:
        """A value as this column holds it; None for a number that it cannot hold.

        Raises:
            InputError: it is of another kind.
        """
        if value.value is None:
            raise InputError(f"nothing equals NULL; write {self.name} IS NULL or IS NOT NULL")
        if self.kind == "times" and value.kind == "text":
            return self._time(value)
        if self.kind == "nothing":
            return None
        if self.kind != value.kind:
            raise InputError(f"{self}: it cannot be compared with {value}")
        number = value.value
        if self.kind != "numbers":
            return pa.scalar(number, self.values.type)
        assert isinstance(number, int | float)
        if pa.types.is_floating(self.values.type):
            return pa.scalar(float(number), self.values.type)
        least, greatest = self.bounds
        whole = math.floor(number)
        held = whole == number and least <= whole <= greatest
        return pa.scalar(whole, self.values.type) if held else None

    @property
    def bounds(self) -> tuple[int, int]:
        """(least, greatest) number of a column of integers."""
        bits = self.values.type.bit_width
        if pa.types.is_unsigned_integer(self.values.type):
            return 0, 2**bits - 1
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def _time(self, value: Value) -> pa.Scalar:
        for zone in ("", "Z"):
            try:
                return pa.scalar(f"{value.value}{zone}").cast(self.values.type)
            except pa.ArrowInvalid:
                continue
        raise InputError(f"{self}: {value} is no time; write e.g. '2024-12-31 23:59:59'")


def _kind(stored: pa.DataType) -> tuple[str, pa.DataType | None]:
    """(what a type holds, the type in which it is compared; None for itself)."""
    kinds = pa.types
    if kinds.is_dictionary(stored):
        kind, wanted = _kind(stored.value_type)
        return kind, wanted or stored.value_type
    if kinds.is_boolean(stored):
        return "true or false", None
    if kinds.is_integer(stored) or kinds.is_float32(stored) or kinds.is_float64(stored):
        return "numbers", None
    if kinds.is_float16(stored) or kinds.is_decimal(stored):
        return "numbers", pa.float64()
    if kinds.is_string(stored) or kinds.is_large_string(stored):
        return "text", None
    if str(stored) == "string_view":
        return "text", pa.large_string()
    if kinds.is_timestamp(stored) or kinds.is_date(stored):
        return "times", None
    if kinds.is_null(stored):
        return "nothing", None
    return "lists" if kinds.is_nested(stored) else "bytes", None


def compare(sign: str, left: Column | Value, right: Column | Value) -> Truth:
    """`left sign right`.

    Args:
        sign: = <> < <= > or >=.
        left: one of both must be a column.
        right: likewise.

    Raises:
        InputError: they are of different kinds.
    """
    if isinstance(left, Value):
        if isinstance(right, Value):
            raise InputError(f"{left} is compared with {right}: one must be a column")
        sign, left, right = _FLIPPED[sign], right, left
    if isinstance(right, Column) and left.kind != right.kind:
        raise InputError(f"{left}, {right}: they cannot be compared")
    _check_comparable(left)
    if left.kind == "nothing":
        return unknown(len(left.values))
    if isinstance(right, Column):
        return _compare_columns(sign, left, right)
    scalar = left.scalar(right)
    if scalar is not None:
        return _ORDER[sign](left.values, scalar)
    assert isinstance(right.value, int | float)
    return _compare_with_number_between(sign, left, right.value)


def _compare_columns(sign: str, left: Column, right: Column) -> Truth:
    try:
        return _ORDER[sign](left.values, right.values)
    except pa.ArrowInvalid:  # integers that a float cannot hold exactly
        both = [pc.cast(side.values, pa.float64(), safe=False) for side in (left, right)]
        return _ORDER[sign](*both)


def _compare_with_number_between(sign: str, column: Column, number: int | float) -> Truth:
    """Compare integers with 1.5, which lies between two of them, or with one beyond their type."""
    least, greatest = column.bounds
    if sign in ("=", "<>") or number < least:
        return _everywhere(column, sign in ("<>", ">", ">="))
    below = pa.scalar(min(math.floor(number), greatest), column.values.type)
    return _ORDER["<=" if sign in ("<", "<=") else ">"](column.values, below)


def _everywhere(column: Column, truth: bool) -> Truth:
    return pc.if_else(pc.is_valid(column.values), truth, None)


def is_in(column: Column, values: list[Value]) -> Truth:
    """`column IN (values)`; unknown where none is it, but NULL is among them.

    Raises:
        InputError: one is of another kind.
    """
    _check_comparable(column)
    scalars = [column.scalar(value) for value in values if value.value is not None]
    if column.kind == "nothing":
        return unknown(len(column.values))
    kind = column.values.type
    own = pa.array([scalar for scalar in scalars if scalar is not None], kind)
    found = pc.if_else(pc.is_valid(column.values), pc.is_in(column.values, own), None)
    has_null = len(scalars) < len(values)
    return pc.or_kleene(found, unknown(len(found))) if has_null else found


def is_like(column: Column, pattern: str, *, ignore_case: bool) -> Truth:
    """`column LIKE pattern`: % is any text and _ any character; nothing else is special.

    Raises:
        InputError: the column holds no texts.
    """
    if column.kind == "nothing":
        return unknown(len(column.values))
    if column.kind != "text":
        raise InputError(f"{column}: LIKE is for text")
    escaped = pattern.replace("\\", "\\\\")
    return pc.match_like(column.values, escaped, ignore_case=ignore_case)


def is_missing(column: Column) -> Truth:
    """`column IS NULL`."""
    return pc.is_null(column.values)


def is_true(column: Column) -> Truth:
    """The column itself as a condition.

    Raises:
        InputError: it is not one of truth values.
    """
    if column.kind == "nothing":
        return unknown(len(column.values))
    if column.kind != "true or false":
        raise InputError(f"{column}: compare it with something")
    return column.values


def unknown(rows: int) -> Truth:
    """Neither true nor false, [n]."""
    return pa.nulls(rows, pa.bool_())


def _check_comparable(column: Column) -> None:
    if column.kind in ("lists", "bytes"):
        raise InputError(f"{column}: conditions on it are IS NULL and IS NOT NULL")
