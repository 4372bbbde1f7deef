"""An index is what was put into it, in whatever order, and refuses what does not fit."""

import itertools
import math
import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.vlp.retrieval.index_states import (
    DIM,
    addition,
    content,
    leftovers,
    make_store,
    silent,
    unit_vectors,
)
from vlp.errors import InputError, RunError
from vlp.retrieval.snapshot import UnknownIdError
from vlp.retrieval.store import Addition

COLUMNS = {
    "number": st.integers(-5, 5),
    "caption": st.one_of(st.none(), st.text(max_size=5)),
    "ratio": st.floats(-1, 1),
    "copies": st.lists(st.text(max_size=2), max_size=2),
}
TYPES = {
    "number": pa.int64(),
    "caption": pa.string(),
    "ratio": pa.float64(),
    "copies": pa.list_(pa.string()),
}


@pytest.fixture(autouse=True)
def without_flushes(monkeypatch):
    """No test here loses power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@st.composite
def tables(draw):
    """Rows with some of the columns; one of nothing but None has no type, as pyarrow infers it."""
    rows = draw(st.integers(0, 12))
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, unique=True))
    arrays = {}
    for name in names:
        values = draw(st.lists(COLUMNS[name], min_size=rows, max_size=rows))
        is_untyped = all(value is None for value in values)
        arrays[name] = pa.array(values, None if is_untyped else TYPES[name])
    return pa.table(arrays)


class Index(RuleBasedStateMachine):
    """An index beside a dictionary."""

    def __init__(self):
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.store = make_store(Path(self.temporary.name, "index"))
        self.expected = {}
        self.used = -1
        self.opened = []
        self.seed = 0

    def teardown(self):
        self.temporary.cleanup()

    @rule(parts=st.lists(tables(), min_size=1, max_size=2), share=st.floats(0, 0.6))
    def change(self, parts, share):
        self._change(parts, share)

    @precondition(lambda self: self.expected)
    @rule(share=st.floats(0.01, 1))
    def remove(self, share):
        self._change([], share)

    @rule()
    def rebuild(self):
        self.store.rebuild("exact", {}, silent)

    @rule()
    def open(self):
        snapshot = self.store.snapshot()
        self.opened.append((snapshot, content(snapshot)))

    @invariant()
    def holds(self):
        snapshot = self.store.snapshot()
        assert content(snapshot) == self.expected
        assert snapshot.manifest.live_rows == len(self.expected)
        assert snapshot.manifest.next_id == self.used + 1
        assert len(snapshot.manifest.segments) <= math.log2(len(snapshot) + 1) + 1
        assert leftovers(self.store.folder) == []

    @invariant()
    def old_states_stay(self):
        for snapshot, before in self.opened:
            assert content(snapshot) == before

    def _change(self, tables, share):
        live = sorted(self.expected)
        gone = np.random.default_rng(self.seed).permutation(live)[: int(share * len(live))]
        parts = []
        for table in tables:
            self.seed += 1
            parts.append(Addition(vectors=unit_vectors(len(table), self.seed), table=table))
        ids = self.store.change(add=parts, remove=gone.astype(np.int64), say=silent)
        assert ids.tolist() == list(range(self.used + 1, self.used + 1 + len(ids)))
        self.used += len(ids)
        for own in gone.tolist():
            del self.expected[own]
        rows = [row for part in parts for row in part.table.to_pylist()]
        vectors = [vector for part in parts for vector in part.vectors]
        for own, row, vector in zip(ids.tolist(), rows, vectors, strict=True):
            known = {name: value for name, value in row.items() if value is not None}
            self.expected[own] = (known, vector.tobytes())


Index.TestCase.settings = settings(
    max_examples=25, stateful_step_count=12, deadline=None, derandomize=True
)
test_any_sequence_of_changes = Index.TestCase


def test_each_row_is_copied_few_times(tmp_path, monkeypatch):
    from vlp.retrieval import segments

    written = []
    save = segments._save
    monkeypatch.setattr(segments, "_save", lambda p, a: (written.append(len(a)), save(p, a)))
    store = make_store(tmp_path / "index")
    for turn in range(64):
        store.change(add=[addition(1, turn)], say=silent)
    assert len(store.snapshot().manifest.segments) == 1
    assert sum(written) / 2 <= 64 * (math.log2(64) + 1)  # vectors and hubness


def test_segments_are_few_whatever_their_lengths(tmp_path):
    store = make_store(tmp_path / "index")
    for rows in range(40, 0, -1):  # each shorter than the one before
        store.change(add=[addition(rows, rows)], say=silent)
    lengths = [segment.rows for segment in store.snapshot().manifest.segments]
    assert sum(lengths) == sum(range(41))
    assert all(long >= 2 * short for long, short in itertools.pairwise(lengths))


def test_what_a_user_keeps_in_the_folder_stays(store):
    names = ("notes.txt", "backend-notes.md", "removed-by-me.csv", ".draft.tmp", "segments/.nfs01")
    for name in names:
        (store.folder / name).touch()
    ours = ("backend-faiss-000007.index", ".index.json.host.1.tmp", "segments/000009-0.hubness.npy")
    for name in ours:
        (store.folder / name).touch()
    store.change(remove=range(9), say=silent)
    assert all((store.folder / name).exists() for name in names)
    assert not any((store.folder / name).exists() for name in ours)


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "index", rows=10)


@pytest.fixture
def refuses(store):
    """A check that a change is refused with a message, and that the index is as it was."""
    before = content(store.snapshot()), store.snapshot().manifest

    def check(match, error=InputError, **change):
        with pytest.raises(error, match=match):
            store.change(**change, say=silent)
        assert (content(store.snapshot()), store.snapshot().manifest) == before
        assert leftovers(store.folder) == []

    return check


def test_vectors_of_another_length(refuses):
    other = Addition(vectors=unit_vectors(2, dim=DIM + 1), table=pa.table({"number": [1, 2]}))
    refuses(f"whose vectors have {DIM} numbers", add=[other])
    flat = Addition(vectors=unit_vectors(2)[0], table=pa.table({"number": [1, 2]}))
    refuses("shape", add=[flat])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 0.0, 0.5, 1e6])
def test_vectors_that_are_no_unit_vectors(refuses, wrong):
    vectors = unit_vectors(3).astype(np.float64)
    vectors[1] = wrong
    refuses("1 of 3 vectors .* number 1", add=[addition(2), _with(vectors)])


def test_metadata_of_other_rows(refuses):
    refuses("3 vectors, but 2 rows", add=[_with(unit_vectors(3), number=[1, 2])])


@pytest.mark.parametrize("values", [["a", "b", "c"], [[1], [2], [3]], [True, False, True]])
def test_a_column_of_another_type(refuses, values):
    refuses("number", add=[_with(unit_vectors(3), number=values)])


def test_columns_that_clash_within_one_change(refuses):
    parts = [_with(unit_vectors(3), new=[1, 2, 3]), _with(unit_vectors(3), new=["a", "b", "c"])]
    refuses("new", add=parts)


def test_a_column_named_id(refuses):
    refuses("'id' is the index's own", add=[_with(unit_vectors(3), id=[1, 2, 3])])


def test_a_column_twice(refuses):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["new", "new"])
    refuses("one name: new, new", add=[Addition(vectors=unit_vectors(1), table=table)])


def test_strings_of_other_programs(store):
    for number, kind in enumerate((pa.string(), pa.large_string(), pa.string_view())):
        store.change(add=[_with(unit_vectors(1), caption=pa.array(["a"], kind))], say=silent)
        assert content(store.snapshot())[10 + number][0] == {"caption": "a"}
    encoded = pa.array(["b"]).dictionary_encode()
    (own,) = store.change(add=[_with(unit_vectors(1), caption=encoded)], say=silent)
    assert content(store.snapshot())[own][0] == {"caption": "b"}


def test_ids_that_are_not_there(refuses, store):
    for ids in ([10], [-1], [3, 99], [2**62]):
        refuses("not in the index", error=UnknownIdError, remove=ids)
    store.change(remove=[3], say=silent)
    with pytest.raises(UnknownIdError, match="id 3 "):
        store.change(remove=[3], say=silent)


def test_an_id_named_twice_is_removed_once(store):
    store.change(remove=[1, 1], say=silent)
    assert store.snapshot().manifest.live_rows == 9


def test_a_backend_that_does_not_exist(store):
    with pytest.raises(InputError, match="choices are exact, faiss, milvus"):
        store.rebuild("annoy", {})


def test_a_change_of_nothing(store):
    before = content(store.snapshot())
    assert len(store.change(say=silent)) == 0
    assert content(store.snapshot()) == before


class TestCreation:
    def test_not_where_something_is(self, tmp_path, store):
        with pytest.raises(InputError, match="is an index already"):
            make_store(store.folder)
        (tmp_path / "notes.txt").touch()
        with pytest.raises(InputError, match=r"is not empty \(e\.g\. index\)"):
            make_store(tmp_path)
        with pytest.raises(InputError, match="is no folder"):
            make_store(tmp_path / "notes.txt")
        assert not (tmp_path / ".lock").exists()

    def test_where_a_killed_one_was(self, tmp_path):
        folder = tmp_path / "index"
        folder.mkdir()
        for name in (".lock", "background.npz", ".background.npz.host.12.tmp"):
            (folder / name).write_bytes(b"half")
        store = make_store(folder, rows=3)
        assert len(content(store.snapshot())) == 3
        assert leftovers(folder) == []

    def test_where_nothing_can_be_made(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(RunError, match="cannot be made"):
            make_store(tmp_path / "file" / "index")


def _with(vectors, **columns):
    return Addition(vectors=vectors, table=pa.table(columns or {"number": range(len(vectors))}))
