"""Conditions on metadata: `split = 'val' AND width > 500`, as a mask over the rows.

A part of SQL with its logic of three values: a comparison with a missing value is neither true nor
false, and rows are found only where the whole is true.
"""

import math
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import reduce
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from vlp.errors import InputError
from vlp.retrieval.comparisons import (
    Column,
    Truth,
    Value,
    compare,
    is_in,
    is_like,
    is_missing,
    is_true,
)
from vlp.retrieval.snapshot import Mask, Snapshot

LONGEST = 10_000  # characters
_DEEPEST = 20  # brackets in brackets
_MOST_PREFIXES = 2
_WORDS = frozenset(
    ["AND", "OR", "NOT", "IN", "IS", "NULL", "LIKE", "ILIKE", "BETWEEN", "TRUE", "FALSE"]
)
_SIGNS = frozenset(("(", ")", ",", "-", "=", "==", "<>", "!=", "<", "<=", ">", ">="))
_LONGEST_PATTERN = 200  # characters of LIKE
_MOST_PATTERNS = 10  # each takes about 0.3 s on a million captions
_SHOWN = 20  # columns in a message
_EXAMPLE = "e.g. split = 'val' AND (width > 500 OR caption LIKE '%dog%')"

Node: TypeAlias = Any  # sqlglot's expressions


def rows_where(snapshot: Snapshot, condition: str | None) -> Mask:
    """[n] which live rows fulfil a condition.

    Args:
        snapshot: whose rows.
        condition: columns, values and AND, OR, NOT, =, <>, <, <=, >, >=, IN, BETWEEN, LIKE, ILIKE,
            IS NULL, brackets. Text stands in single quotes; in double quotes too where no column
            has that name. A number that is NaN counts as missing.

    Raises:
        InputError: it cannot be read, names a column that is not there, or compares what cannot
            be compared.
    """
    if condition is None:
        return snapshot.live.copy()
    try:
        truth = _Evaluation(snapshot).truth(_parsed(condition, snapshot.columns))
    except InputError as error:
        shown = condition if len(condition) <= 200 else f"{condition[:200]}..."
        raise InputError(f"condition {shown!r}: {error}") from None
    mask: Mask = pc.fill_null(truth, False).to_numpy(zero_copy_only=False)
    return snapshot.live & mask


def _parsed(condition: str, columns: Mapping[str, pa.DataType]) -> Node:
    """The tree of a condition in which every identifier is in double quotes."""
    from sqlglot import exp, parse_one, tokenize
    from sqlglot.errors import SqlglotError

    if len(condition) > LONGEST:
        raise InputError(f"it has {len(condition)} characters; at most {LONGEST} are read")
    try:
        tokens = list(tokenize(condition))
    except SqlglotError:
        raise InputError(f"a quote is not closed, or a sign is unknown; {_EXAMPLE}") from None
    quoted = " ".join(_quoted(condition, tokens, columns))
    try:
        return parse_one(quoted, into=exp.Condition)
    except (SqlglotError, RecursionError):
        raise InputError(f"it is no condition; {_EXAMPLE}") from None


def _quoted(condition: str, tokens: list[Any], columns: Mapping[str, pa.DataType]) -> Iterator[str]:
    """The tokens that may occur, names of columns in quotes: some are words of SQL as well.

    Raises:
        InputError: another one.
    """
    depth = prefixes = 0
    for token in tokens:
        text = condition[token.start : token.end + 1]
        depth += {"(": 1, ")": -1}.get(text, 0)
        prefixes = prefixes + 1 if text.upper() in ("NOT", "-") else 0
        if depth > _DEEPEST or prefixes > _MOST_PREFIXES:  # the parser is recursive
            raise InputError(f"more than {_DEEPEST} brackets are open, or NOT NOT NOT")
        if token.comments:
            raise InputError("comments are not read")
        if text in _SIGNS or text.upper() in _WORDS or text[0] in "'\"" or _is_number(text):
            yield text
        elif re.fullmatch(r"\w+", text):
            if text not in columns:
                raise _no_column(text, columns)
            yield f'"{text}"'
        else:
            raise InputError(f"{text!r} is not understood; {_EXAMPLE}")


def _is_number(text: str) -> bool:
    return re.fullmatch(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII) is not None


def _no_column(name: str, columns: Mapping[str, pa.DataType]) -> InputError:
    near = get_close_matches(name.lower(), columns, n=3, cutoff=0.5)
    names = [*list(columns)[:_SHOWN], *["..."] * (len(columns) > _SHOWN)]
    known = f"near it are {', '.join(near)}" if near else f"there are {', '.join(names)}"
    return InputError(f"there is no column {name!r}: {known}; text stands in quotes: '{name}'")


class _Evaluation:
    """Evaluates a tree over all rows; each column is read once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._columns: dict[str, Column] = {}
        self._patterns = 0

    def truth(self, node: Node) -> Truth:
        """[n] of a condition."""
        from sqlglot import exp

        if isinstance(node, exp.Paren):
            return self.truth(node.this)
        if isinstance(node, exp.Not):
            return pc.invert(self.truth(node.this))
        if isinstance(node, exp.And):  # chains are flattened: they may be long
            return reduce(pc.and_kleene, map(self.truth, node.flatten(unnest=False)))
        if isinstance(node, exp.Or):
            return reduce(pc.or_kleene, map(self.truth, node.flatten(unnest=False)))
        if isinstance(node, exp.Column):
            return is_true(self._column(node))
        return self._compared(node)

    def _compared(self, node: Node) -> Truth:
        from sqlglot import exp

        signs = {exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}
        kind = type(node)
        if kind in signs:
            left, right = self._operands(node.this, node.expression)
            return compare(signs[kind], left, right)
        if kind is exp.Between:
            low, high = node.args["low"], node.args["high"]
            found = [
                compare(sign, *self._operands(node.this, bound))
                for sign, bound in ((">=", low), ("<=", high))
            ]
            return pc.and_kleene(*found)
        if kind is exp.In and node.expressions:
            return is_in(self._column(node.this), [self._value(v) for v in node.expressions])
        if kind in (exp.Like, exp.ILike):
            return self._like(node, ignore_case=kind is exp.ILike)
        if kind is exp.Is:
            return self._is(node)
        raise InputError(f"{node.sql()!r} is no condition; {_EXAMPLE}")

    def _like(self, node: Node, *, ignore_case: bool) -> Truth:
        pattern = self._value(node.expression).value
        self._patterns += 1
        if not isinstance(pattern, str):
            raise InputError("LIKE needs a pattern in quotes, e.g. '%dog%'")
        if self._patterns > _MOST_PATTERNS:
            raise InputError(f"it has more than {_MOST_PATTERNS} patterns of LIKE")
        if len(pattern) > _LONGEST_PATTERN:
            raise InputError(f"a pattern of LIKE has at most {_LONGEST_PATTERN} characters")
        found = is_like(self._column(node.this), pattern, ignore_case=ignore_case)
        return pc.invert(found) if node.args.get("negate") else found

    def _is(self, node: Node) -> Truth:
        column, value = self._column(node.this), self._value(node.expression).value
        if value is None:
            return is_missing(column)
        if not isinstance(value, bool):
            raise InputError("IS is for NULL, TRUE and FALSE")
        return pc.fill_null(pc.equal(is_true(column), value), False)

    def _operands(self, left: Node, right: Node) -> tuple[Column | Value, Column | Value]:
        return self._operand(left), self._operand(right)

    def _operand(self, node: Node) -> Column | Value:
        from sqlglot import exp

        if isinstance(node, exp.Column) and node.name in self._snapshot.columns:
            return self._column(node)
        return self._value(node)

    def _column(self, node: Node) -> Column:
        from sqlglot import exp

        if not isinstance(node, exp.Column):
            raise InputError(f"{node.sql()!r} is no column")
        name = node.name
        if name not in self._snapshot.columns:
            raise _no_column(name, self._snapshot.columns)
        if name not in self._columns:
            self._columns[name] = Column(name, self._snapshot.column(name))
        return self._columns[name]

    def _value(self, node: Node) -> Value:
        from sqlglot import exp

        if isinstance(node, exp.Null):
            return Value(None)
        if isinstance(node, exp.Boolean):
            return Value(bool(node.this))
        if isinstance(node, exp.Column):  # text in double quotes
            if node.name in self._snapshot.columns:
                raise InputError(f"the column {node.name!r} stands where a value must stand")
            return Value(node.name)
        if isinstance(node, exp.Literal) and node.is_string:
            return Value(str(node.this))
        sign, number = (-1, node.this) if isinstance(node, exp.Neg) else (1, node)
        if not isinstance(number, exp.Literal) or number.is_string:
            raise InputError(f"{node.sql()!r} is no value: text in quotes, a number, TRUE or FALSE")
        text = str(number.this)
        if not math.isfinite(float(text)):
            raise InputError(f"the number {text} is too large")
        return Value(sign * (int(text) if text.isdecimal() else float(text)))
