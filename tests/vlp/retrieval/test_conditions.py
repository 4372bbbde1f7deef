"""Conditions select what DuckDB selects, and refuse what they cannot evaluate."""

import datetime

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vlp.retrieval.backend_contract import silent
from vlp.errors import InputError
from vlp.retrieval.conditions import rows_where
from vlp.retrieval.store import Addition, Store

TEXTS = ["val", "train", "", "a_b", "A%", "x\\y", "two\nlines", "it's", None]
TIMES = [datetime.datetime(2020, 1, 1), datetime.datetime(2024, 2, 29, 12, 30), None]


class Rows:
    """What a condition needs of a snapshot."""

    def __init__(self, table, live=None):
        self.table = table
        self.columns = {field.name: field.type for field in table.schema}
        self.live = np.ones(len(table), np.bool_) if live is None else live

    def column(self, name):
        return self.table.column(name)


def made(seed=0, rows=60):
    rng = np.random.default_rng(seed)

    def some(values, kind=None):
        return pa.array([values[i] for i in rng.integers(0, len(values), rows)], kind)

    return pa.table(
        {
            "id": np.arange(rows),
            "split": some(TEXTS),
            "order": some(TEXTS).dictionary_encode(),
            "width": some([0, 100, 500, -7, 2**62, None], pa.int64()),
            "small": some([0, 100, -7, None], pa.int16()),
            "score": some([0.0, 0.1, 2.5, -1e9, None], pa.float64()),
            "half": some([0.1, 2.5, None], pa.float32()),
            "flag": some([True, False, None]),
            "taken": some(TIMES, pa.timestamp("us")),
        }
    )


TABLE = made()
SIGNS = st.sampled_from(["=", "==", "<>", "!=", "<", "<=", ">", ">="])
NUMBERS = st.sampled_from(["0", "100", "-7", "0.1", "2.5", "99.5", "1e3", str(2**62), str(10**20)])
NUMERIC = st.sampled_from(["id", "width", "small", "score", "half"])
TEXTUAL = st.sampled_from(["split", '"order"'])
QUOTED = st.sampled_from([f"'{t}'".replace("it's", "it''s") for t in TEXTS if t is not None])
PATTERNS = st.text("a%_vbV\\t", max_size=6).map(lambda text: f"'{text}'")
DATES = st.sampled_from(["'2020-01-01'", "'2024-02-29 12:30:00'", "'1999-12-31'"])
NOT = st.sampled_from(["", "NOT "])


def joined(*parts):
    return st.tuples(*(st.just(p) if isinstance(p, str) else p for p in parts)).map(" ".join)


def several(values):
    listed = st.lists(st.one_of(values, st.just("NULL")), min_size=1, max_size=4)
    return listed.map(lambda items: f"({', '.join(items)})")


SIMPLE = st.one_of(
    joined(NUMERIC, SIGNS, NUMBERS),
    joined(NUMBERS, SIGNS, NUMERIC),
    joined(st.sampled_from(["width", "small", "id"]), SIGNS, st.sampled_from(["small", "id"])),
    joined(NUMERIC, NOT, "BETWEEN", NUMBERS, "AND", NUMBERS),
    joined(NUMERIC, NOT, "IN", several(NUMBERS)),
    joined(TEXTUAL, SIGNS, QUOTED),
    joined(TEXTUAL, NOT, "IN", several(QUOTED)),
    joined("split", SIGNS, '"order"'),
    joined(TEXTUAL, NOT, st.sampled_from(["LIKE", "ILIKE"]), PATTERNS),
    joined("taken", SIGNS, DATES),
    joined(st.one_of(NUMERIC, TEXTUAL, st.just("flag")), "IS", NOT, "NULL"),
    joined("flag", st.sampled_from(["= TRUE", "<> false", "IS TRUE", "IS NOT FALSE", ""])),
)
CONDITIONS = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        joined("NOT (", inner, ")"),
        joined("(", inner, ")"),
        joined(inner, st.sampled_from(["AND", "OR"]), inner),
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(condition=CONDITIONS)
def test_selects_what_duckdb_selects(condition):
    if condition.upper().count("LIKE") > 10:
        return
    expected = duckdb.from_arrow(TABLE).filter(condition).fetchnumpy()["id"]
    found = np.flatnonzero(rows_where(Rows(TABLE), condition))
    assert found.tolist() == sorted(expected.tolist())
