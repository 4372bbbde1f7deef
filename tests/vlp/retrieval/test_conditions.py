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


WORDS = [*"(),=<-5", "split", "width", "flag", "'a'", '"b"', "1.5", "AND", "OR", "NOT", "IN"]
WORDS += ["IS", "NULL", "LIKE", "BETWEEN", "TRUE"]
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


@pytest.fixture(scope="module")
def database():
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        connection.register("arrow", TABLE)
        connection.execute("CREATE TABLE made AS SELECT * FROM arrow")
        yield connection


@settings(max_examples=200, deadline=None)
@given(condition=CONDITIONS)
def test_selects_what_duckdb_selects(database, condition):
    expected = database.execute(f"SELECT id FROM made WHERE {condition} ORDER BY id").fetchall()
    assert found(condition) == [row for (row,) in expected]


def found(condition, table=TABLE):
    return np.flatnonzero(rows_where(Rows(table), condition)).tolist()


def test_text_in_double_quotes_is_text_where_no_column_has_that_name():
    assert found('split = "val"') == found("split = 'val'") != []
    assert found('split IN ("val", "train")') == found("split IN ('val', 'train')")
    assert found('"split" = "order"') == found("split = order")  # here one has


def test_words_of_sql_may_be_columns():
    table = pa.table({"select": [1, 2], "from": ["a", "b"], "key": [True, False]})
    assert found("select = 2 AND from = 'b' AND NOT key", table) == [1]


def test_no_number_is_a_missing_number():
    table = pa.table({"score": [0.5, float("nan"), None]})
    assert found("score IS NULL", table) == [1, 2]
    assert found("NOT score > 1", table) == [0]


def test_columns_of_other_types():
    table = pa.table(
        {
            "copies": [["a"], None],
            "empty": pa.nulls(2),
            "day": pa.array([datetime.date(2024, 1, 2), None]),
            "zoned": pa.array([0, 10**6], pa.timestamp("us", "UTC")),
            "price": pa.array([1, 2]).cast(pa.decimal128(22, 2)),
            "half": np.array([0.5, 2.0], np.float16),
            "large": pa.array([2**63, 5], pa.uint64()),
        }
    )
    assert found("copies IS NOT NULL", table) == [0]
    assert found("empty = 5 OR empty LIKE 'a' OR empty IN ('a') OR NOT empty", table) == []
    assert found("day = '2024-01-02' AND empty IS NULL", table) == [0]
    assert found("zoned <= '1970-01-01 00:00:00'", table) == [0]
    assert found("price = 2 AND half > 1.5", table) == [1]
    assert found("large >= 9223372036854775808 AND large > -1", table) == [0]


def test_only_live_rows_are_found():
    live = np.arange(len(TABLE)) % 2 == 0
    assert np.array_equal(rows_where(Rows(TABLE, live), None), live)
    assert np.array_equal(rows_where(Rows(TABLE, live), "id >= 0"), live)


def test_segments_with_other_columns_and_an_empty_index(tmp_path):
    store = Store.create(tmp_path / "i", dim=4, modality="image", model=None, background=None)
    assert rows_where(store.snapshot(), "id > 5").tolist() == []
    vectors = np.eye(4, dtype=np.float16)
    for table in ({"split": ["val"] * 4}, {"width": [1, 2, 3, None]}, {"id2": [0] * 4}):
        store.change(add=[Addition(vectors=vectors, table=pa.table(table))], say=silent)
    assert np.flatnonzero(rows_where(store.snapshot(), "width > 1")).tolist() == [5, 6]
    kept = rows_where(store.snapshot(), "NOT split = 'val' OR width IS NULL AND id > 4")
    assert np.flatnonzero(kept).tolist() == [7, 8, 9, 10, 11]


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("splt = 'val'", "no column 'splt'.*near it are split"),
        ("split = val", "no column 'val'.*quotes: 'val'"),
        ("width = 'wide'", "'width' holds numbers.*the text 'wide'"),
        ("split = 5", "'split' holds text.*the number 5"),
        ("flag = 1", "'flag' holds true or false"),
        ("split", "'split' holds text.*compare it"),
        ("split = width", "cannot be compared"),
        ("taken > 'soon'", "'soon' is no time"),
        ("width LIKE '5%'", "LIKE is for text"),
        ("split LIKE width", "LIKE needs a pattern|where a value must stand"),
        ("split = NULL", "split IS NULL"),
        ("1 = 1", "one must be a column"),
        ("lower(split) = 'val'", "no column 'lower'"),
        ("width + 1 = 2", "'[+]' is not understood"),
        ("split IN ()", "no condition"),
        ("split IN (SELECT 1)", "SELECT"),
        ("split = 'val'; DROP TABLE x", "';' is not understood"),
        ("split = 'val' -- and", "comments"),
        ("split = 'val", "quote"),
        ("split = 'a' 'b'", "no value"),
        ("split = ", "no condition"),
        ("", "no condition"),
        ("flag IS split", "value must stand|no condition"),
        ("width IS 5", "IS is for|no condition"),
        ("width > 1e999", "too large"),
        ("TRUE", "no condition"),
        ("split ~ 'v.*'", "'~' is not understood"),
        ("(" * 2000 + "flag" + ")" * 2000, "brackets"),
        ("NOT " * 2000 + "flag", "NOT NOT NOT"),
        ("- " * 2000 + "1 = width", "NOT NOT NOT"),
        ("flag AND " * 2000 + "flag", "characters"),
        (f"split LIKE '{'_' * 201}'", "200 characters"),
        (" OR ".join(["split LIKE '%a%'"] * 11), "10 patterns"),
        ("width = \x00", "not understood"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(condition, told):
    with pytest.raises(InputError, match=f"^condition .*({told})") as caught:
        found(condition)
    assert len(str(caught.value)) < 500


def test_lists_can_only_be_missing():
    with pytest.raises(InputError, match=r"'copies' holds lists.*IS NULL"):
        found("copies = 'a'", pa.table({"copies": [["a"]]}))


@given(text=st.text(max_size=60))
def test_no_text_is_evaluated_or_fails_otherwise(text):
    try:
        rows_where(Rows(TABLE), text)
    except InputError:
        return


@given(words=st.lists(st.sampled_from(WORDS), max_size=12))
def test_no_words_in_any_order_fail_otherwise(words):
    test_no_text_is_evaluated_or_fails_otherwise.hypothesis.inner_test(" ".join(words))


def test_long_chains_are_evaluated():
    assert found(" AND ".join(["id >= 1"] * 800)) == list(range(1, 60))
