"""Every backend finds what brute force finds, after any sequence of changes."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vlp.retrieval.backend_contract import (
    CHANGES,
    Case,
    add,
    apply_change,
    cases,
    check_search,
    clustered,
    make_store,
    queries,
    silent,
)
from vlp.errors import InputError
from vlp.retrieval.backends import backend_class, faiss_tuning
from vlp.retrieval.snapshot import UnknownIdError

DIM = 16


@pytest.fixture(scope="module", params=cases())
def case(request) -> Case:
    return request.param


@pytest.fixture(scope="module")
def unchanged(case, tmp_path_factory):
    """For tests that only search."""
    return make_store(tmp_path_factory.mktemp("shared") / "index", case, clustered(600, DIM, 1))


@pytest.fixture
def store(case, tmp_path):
    return make_store(tmp_path / "index", case, clustered(600, DIM, seed=1))


@pytest.mark.parametrize("k", [0, 1, 10, 599, 600, 700])
def test_finds_the_nearest(case, unchanged, k):
    assert check_search(unchanged, queries(8, DIM, 2), k) >= case.recall


def test_one_query_finds_what_many_find(unchanged):
    asked = queries(4, DIM, 3)
    snapshot = unchanged.snapshot()
    mark = snapshot.manifest.backend
    backend = backend_class(mark.name)(snapshot, mark.options, mark.state)
    together = backend.search(asked, 5, snapshot.live)[1]
    alone = [backend.search(query[None], 5, snapshot.live)[1][0] for query in asked]
    backend.close()
    assert np.array_equal(together, np.stack(alone))


def test_no_queries(unchanged):
    check_search(unchanged, np.empty((0, DIM), np.float32), 3)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.01])
def test_only_allowed_rows(case, unchanged, share):
    condition = np.random.default_rng(0).random(600) < share
    assert check_search(unchanged, queries(8, DIM, 4), 10, condition) >= case.recall


def test_a_condition_that_hides_the_nearest(case, unchanged):
    asked = queries(4, DIM, 5)
    vectors = np.concatenate([block for _, block in unchanged.snapshot().blocks()])
    products = vectors.astype(np.float32) @ asked.T
    hidden = np.argsort(-products, axis=0)[:200]
    for number in range(len(asked)):
        condition = np.ones(600, np.bool_)
        condition[hidden[:, number]] = False
        check_search(unchanged, asked[number : number + 1], 10, condition)


def test_a_condition_that_nothing_fulfils(unchanged):
    check_search(unchanged, queries(2, DIM, 6), 3, np.zeros(600, np.bool_))


def test_an_empty_index(case, tmp_path):
    store = make_store(tmp_path / "index", case, np.empty((0, DIM), np.float16))
    check_search(store, queries(2, DIM, 7), 3)
    add(store, clustered(5, DIM, 8))
    assert check_search(store, queries(2, DIM, 7), 3) == 1


def test_equal_rows_come_in_their_order(case, tmp_path):
    one = clustered(1, DIM, 9)
    store = make_store(tmp_path / "index", case, np.repeat(one, 40, axis=0))
    assert check_search(store, queries(2, DIM, 10), 40) == 1


def test_rows_that_were_removed_are_not_found(case, store):
    snapshot = store.snapshot()
    store.change(remove=snapshot.ids[:100], say=silent)  # less than makes the index compact
    assert check_search(store, queries(8, DIM, 11), 10) >= case.recall
    store.change(remove=snapshot.ids[100:590], say=silent)
    assert check_search(store, queries(8, DIM, 11), 20) == 1
    store.change(remove=snapshot.ids[590:], say=silent)
    check_search(store, queries(8, DIM, 11), 3)
    with pytest.raises(UnknownIdError):
        store.change(remove=snapshot.ids[:1], say=silent)


def test_rows_that_were_added_are_found(case, store):
    for size in (1, 30, 700):
        new = clustered(size, DIM, 20 + size)
        add(store, new)
        asked = new[:3].astype(np.float32)
        asked /= np.linalg.norm(asked, axis=1, keepdims=True)
        assert check_search(store, asked, 1) >= case.recall
    assert check_search(store, queries(8, DIM, 12), 10) >= case.recall


def test_old_readers_are_not_disturbed(case, store):
    snapshot = store.snapshot()
    mark = snapshot.manifest.backend
    backend = backend_class(mark.name)(snapshot, mark.options, mark.state)
    asked = queries(3, DIM, 13)
    before = backend.search(asked, 5, snapshot.live)
    add(store, clustered(2000, DIM, 14))
    store.rebuild(case.backend, case.options, silent)
    after = backend.search(asked, 5, snapshot.live)
    backend.close()
    assert np.array_equal(before[1], after[1])


def test_an_unknown_option_is_named(case, store):
    with pytest.raises(InputError, match="nonsense"):
        store.rebuild(case.backend, {"nonsense": 1}, silent)
    check_search(store, queries(1, DIM, 15), 3)


def test_any_sequence_of_changes(case, monkeypatch):
    monkeypatch.setattr(faiss_tuning, "_QUERIES", 10)  # its recall is of no interest here

    @settings(
        max_examples=case.examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize=True,
    )
    @given(changes=CHANGES, seed=st.integers(0, 1000))
    def holds(changes, seed):
        with tempfile.TemporaryDirectory() as folder:
            store = make_store(Path(folder, "index"), case, clustered(350, DIM, seed))
            for turn, change in enumerate(changes):
                apply_change(store, case, change, seed + turn)
                check_search(store, queries(2, DIM, seed), 7)

    holds()
