"""Samples against conditions: which one each fails first, and with what value."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from data_tools.annotate import Made, read_sidecar
from data_tools.filtering.columns import read_columns, sidecars_named
from data_tools.filtering.conditions import TABLE, Expression, connect
from data_tools.filtering.kept import Verdict, dropped_before, made
from data_tools.filtering.largest import Cut
from vlp.errors import InputError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_NOTHING = '"NULL"'  # the type of a column that is null everywhere
_LONGEST = 200  # characters of a value that are kept


@dataclass(frozen=True)
class Rules:
    """What a sample is judged by, in this order."""

    after: str | None
    conditions: tuple[Expression, ...]
    cut: Cut | None
    seed: int

    @property
    def labels(self) -> list[str]:
        """What samples are counted under that are dropped."""
        names = [self.after] if self.after else []
        names += [condition.label for condition in self.conditions]
        return list(dict.fromkeys(names + ([self.cut.label] if self.cut else [])))


def judge_shard(shard: Path, rules: Rules) -> Made:
    """The keep sidecar of a shard."""
    verdicts = dropped_before(shard, rules.after)
    columns = {column for condition in rules.conditions for column in condition.columns}
    table = read_columns(columns, shard, rules.seed)
    failed = failures(shard, table, rules.conditions)
    verdicts = [earlier or later for earlier, later in zip(verdicts, failed, strict=True)]
    if rules.cut is not None:
        below = rules.cut.below(read_sidecar(shard, rules.cut.sidecar))
        verdicts = [earlier or later for earlier, later in zip(verdicts, below, strict=True)]
    without_row = {name: table[name].null_count for name in sidecars_named(columns, shard)}
    return made(shard, verdicts, without_row)


def failures(
    shard: Path, table: pa.Table, conditions: Sequence[Expression]
) -> list[Verdict | None]:
    """The condition that each sample fails first; one whose value is null is not fulfilled.

    Args:
        shard: for messages.
        table: the samples, with the columns of the conditions.

    Raises:
        InputError: DuckDB cannot evaluate one, or it is no condition.
    """
    if not conditions:
        return [None] * len(table)
    first = _case([(c.sql, str(place)) for place, c in enumerate(conditions)])
    value = _case([(c.sql, _value(c)) for c in conditions])
    with connect() as connection:
        connection.register(TABLE, table)
        _check_types(connection, conditions, "BOOLEAN", "a condition, which is true or false")
        found = _fetch(connection, f"SELECT {first}, {value} FROM {TABLE}", shard)
    labels = [condition.label for condition in conditions]
    return [None if i is None else Verdict(labels[i], shown, labels[i]) for i, shown in found]


def numbers(shard: Path, expression: Expression, seed: int) -> pa.Array:
    """[samples] float64, the value of an expression; null where there is none or it is NaN.

    Raises:
        InputError: DuckDB cannot evaluate it, or it is no number.
    """
    table = read_columns(expression.columns, shard, seed)
    with connect() as connection:
        connection.register(TABLE, table)
        numeric = "TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT "
        numeric += "FLOAT DOUBLE DECIMAL"
        _check_types(connection, [expression], numeric, "a number")
        query = f"SELECT nullif(CAST({expression.sql} AS DOUBLE), 'nan'::DOUBLE) FROM {TABLE}"
        return pa.array([row[0] for row in _fetch(connection, query, shard)], pa.float64())


def _case(branches: Sequence[tuple[str, str]]) -> str:
    whens = " ".join(f"WHEN ({sql}) IS NOT TRUE THEN {result}" for sql, result in branches)
    return f"CASE {whens} END"


def _value(condition: Expression) -> str:
    """SQL for the values of a condition's columns, as a text."""
    shown = []
    for parts in condition.columns:
        name = ".".join('"' + part.replace('"', '""') + '"' for part in parts)
        label = "" if len(condition.columns) == 1 else f"{'.'.join(parts)} = "
        quoted = label.replace("'", "''")
        shown.append(f"'{quoted}' || coalesce(left(CAST({name} AS VARCHAR), {_LONGEST}), 'null')")
    return " || ', ' || ".join(shown) or "'false'"


def _check_types(
    connection: "DuckDBPyConnection", expressions: Sequence[Expression], allowed: str, wanted: str
) -> None:
    import duckdb

    for expression in expressions:
        query = f"DESCRIBE SELECT {expression.sql} FROM {TABLE}"
        try:
            row = connection.execute(query).fetchone()
        except duckdb.Error as error:
            raise InputError(f"{expression.label}: {error}") from None
        kind = str(row[1]) if row else ""
        if kind.partition("(")[0] not in (*allowed.split(), _NOTHING):
            raise InputError(f"{expression.label} is of type {kind}; expected {wanted}")


def _fetch(connection: "DuckDBPyConnection", query: str, shard: Path) -> list[tuple[Any, ...]]:
    import duckdb

    try:
        rows: list[tuple[Any, ...]] = connection.execute(query).fetchall()
    except duckdb.Error as error:
        raise InputError(f"{shard}: {error}") from None
    return rows
