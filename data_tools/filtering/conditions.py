"""SQL conditions over the columns of a sample, taken apart where they are joined by AND."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from vlp.errors import InputError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TABLE = "samples"  # name of the table that expressions are evaluated on
DETECTOR = "py3langid"
# what depends on other rows would depend on the shards
_REFUSED = {
    "WINDOW": "a window function",
    "SUBQUERY": "a query inside of it",
    "STAR": "*",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "#",
}
_SETTINGS = (
    "threads = 1",
    "python_enable_replacements = false",
    "autoinstall_known_extensions = false",
    "enable_external_access = false",
    "lock_configuration = true",
)


@dataclass(frozen=True)
class Expression:
    """An expression as DuckDB writes it, and the columns that it names, each as its parts."""

    sql: str
    columns: tuple[tuple[str, ...], ...]

    @property
    def label(self) -> str:
        """What it is called where it drops a sample."""
        text = self.sql[1:-1] if _is_wrapped(self.sql) else self.sql
        if ("language",) not in self.columns:
            return text
        plain = text.replace('"language"', "language")  # quoted because SQL knows this word
        return f"{plain} [{DETECTOR}]"


def connect() -> "DuckDBPyConnection":
    """A database in memory that reads no files.

    Raises:
        InputError: DuckDB is not installed.
    """
    try:
        import duckdb
    except ImportError:
        raise InputError(
            "conditions on samples need DuckDB: pip install -e '.[curation]'"
        ) from None
    connection = duckdb.connect(":memory:")
    for setting in _SETTINGS:
        connection.execute(f"SET {setting}")
    return connection


def parse(text: str, option: str) -> Expression:
    """One expression over the columns of a sample.

    Args:
        option: where the text stands, for messages.

    Raises:
        InputError: it is no expression, or its value for a sample would depend on others, on chance
            or on the time.
    """
    with connect() as connection:
        return _expression(connection, _tree(connection, text, option), option)


def parse_conditions(text: str, option: str) -> list[Expression]:
    """The conditions that a sample must all fulfil: those that are joined by AND.

    Raises: as `parse`.
    """
    with connect() as connection:
        tree = _tree(connection, text, option)
        return [_expression(connection, part, option) for part in _joined_by_and(tree)]


def _tree(connection: "DuckDBPyConnection", text: str, option: str) -> dict[str, Any]:
    """What DuckDB's parser makes of the text."""
    where = f"{option} {text!r}"
    if not text.strip():
        raise InputError(f"{where}: expected an expression, such as words > 2")
    parsed = _serialized(connection, f"SELECT ({text}\n)")
    if parsed["error"]:
        raise InputError(f"{where}: {parsed['error_message']}")
    statements = parsed["statements"]
    items = statements[0]["node"].get("select_list", [])
    # brackets that close too early would begin another clause behind them
    if (
        len(statements) != 1
        or len(items) != 1
        or _text(connection, items[0]) != _written(connection, parsed)
    ):
        raise InputError(f"{where}: expected one expression")
    tree: dict[str, Any] = items[0]
    return tree


def _joined_by_and(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if tree["type"] == "CONJUNCTION_AND":
        for child in tree["children"]:
            yield from _joined_by_and(child)
    else:
        yield tree


def _expression(connection: "DuckDBPyConnection", tree: dict[str, Any], option: str) -> Expression:
    sql = _text(connection, tree)
    columns: dict[tuple[str, ...], None] = {}
    for node, bound in _nodes(tree, frozenset()):
        refused = _REFUSED.get(node["class"]) or _refused_function(node)
        if refused:
            raise InputError(
                f"{option}: {sql} has {refused}, but each sample is judged by itself, alike in "
                "every run; `lot` is a number from 0 to 1 drawn for each sample by --seed"
            )
        if node["class"] == "COLUMN_REF" and node["column_names"][0] not in bound:
            columns[tuple(node["column_names"])] = None
    return Expression(sql, tuple(columns))


def _nodes(tree: Any, bound: frozenset[str]) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:  # noqa: ANN401 (JSON)
    """Every node of a tree, with the names that lambdas around it have given."""
    if isinstance(tree, list):
        for child in tree:
            yield from _nodes(child, bound)
    elif isinstance(tree, dict):
        if tree.get("class") == "LAMBDA":
            given = [node for node, _ in _nodes(tree["lhs"], frozenset())]
            bound |= {node["column_names"][0] for node in given if "column_names" in node}
        if "class" in tree:
            yield tree, bound
        for child in tree.values():
            yield from _nodes(child, bound)


def _refused_function(node: dict[str, Any]) -> str | None:
    """Why a function cannot be used; None if it can, or is unknown."""
    kinds = _functions().get(node.get("function_name", ""), set())
    if not kinds:
        return None
    if not any(kind in ("scalar", "macro") for kind, _ in kinds):
        return f"{node['function_name']}(), which takes many rows"
    # + is one of those with a form, on times, that is not always the same
    if all(stability in ("VOLATILE", "CONSISTENT_WITHIN_QUERY") for _, stability in kinds):
        return f"{node['function_name']}(), which differs from run to run"
    return None


@cache
def _functions() -> dict[str, set[tuple[str, str | None]]]:
    found: dict[str, set[tuple[str, str | None]]] = {}
    query = "SELECT function_name, function_type, stability FROM duckdb_functions()"
    with connect() as connection:
        for name, kind, stability in connection.execute(query).fetchall():
            found.setdefault(name, set()).add((kind, stability))
    return found


def _serialized(connection: "DuckDBPyConnection", query: str) -> dict[str, Any]:
    row = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchone()
    parsed: dict[str, Any] = json.loads(row[0]) if row else {}
    return parsed


def _text(connection: "DuckDBPyConnection", tree: dict[str, Any]) -> str:
    """A node as SQL, by putting it into a query in place of another one."""
    parsed = _serialized(connection, "SELECT 1")
    parsed["statements"][0]["node"]["select_list"] = [tree]
    return _written(connection, parsed)


def _written(connection: "DuckDBPyConnection", parsed: dict[str, Any]) -> str:
    query = "SELECT json_deserialize_sql(?::JSON)"
    row = connection.execute(query, [json.dumps(parsed)]).fetchone()
    return str(row[0]).removeprefix("SELECT ") if row else ""


def _is_wrapped(sql: str) -> bool:
    """Whether the first bracket is closed by the last character; quotes count as text."""
    if not (sql.startswith("(") and sql.endswith(")")):
        return False
    depth, quote = 0, ""
    for place, sign in enumerate(sql):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "()":
            depth += 1 if sign == "(" else -1
            if depth == 0 and place < len(sql) - 1:
                return False
    return True
