"""An index is what was put into it, whatever the order of changes, and refuses what does not fit."""

import math
import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.vlp.retrieval.backend_contract import check_search, queries
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
from vlp.retrieval.store import Addition, Store

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
    for turn in range(128):
        store.change(add=[addition(1, turn)], say=silent)
    assert len(store.snapshot().manifest.segments) == 1
    assert sum(written) / 2 <= 128 * (math.log2(128) + 1)  # vectors and hubness


def test_a_damaged_file_is_named(tmp_path):
    ...
