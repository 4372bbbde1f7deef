"""Exact search is exact where float16 is not, in blocks, with little memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vlp.retrieval.backend_contract import (
    CLOSE,
    Case,
    add,
    check_found,
    clustered,
    make_store,
    queries,
)
from vlp.retrieval.backends.exact import search_exactly

EXACT = Case("exact", "exact")


class Rows:
    """As much of a snapshot as exact search asks for."""

    def __init__(self, vectors, block=1000):
        self._vectors, self._block = vectors, block
        self.read = []

    def __len__(self):
        return len(self._vectors)

    def blocks(self):
        for at in range(0, len(self), self._block):
            yield at, self._vectors[at : at + self._block]

    def vectors(self, rows):
        self.read.append(len(rows))
        return self._vectors[rows].astype(np.float32)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def crowded(rows, dim, spread, seed):
    """Rows closer to one another than float16 can tell products apart, and a query among them."""
    rng = np.random.default_rng(seed)
    centre = unit(rng.standard_normal(dim))
    near = unit(centre + spread * rng.standard_normal((rows, dim)))
    query = unit(centre + spread * rng.standard_normal(dim))
    return near.astype(np.float16), query.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    dim=st.integers(2, 600),
    spread=st.sampled_from([0.0, 1e-3, 1e-2, 0.1, 1.0]),
    k=st.integers(1, 40),
    seed=st.integers(0, 10**6),
)
def test_a_crowd_is_told_apart(dim, spread, k, seed):
    vectors, query = crowded(500, dim, spread, seed)
    allowed = np.random.default_rng(seed).random(500) < 0.8
    scores, rows = search_exactly(Rows(vectors, 97), query[None], k, allowed)
    truth = vectors.astype(np.float64) @ query[:, None].astype(np.float64)
    assert check_found(truth, allowed, k, scores, rows) == 1


def test_float16_alone_would_not_tell_them_apart():
    vectors, query = crowded(500, 512, 1e-2, 0)
    narrow = vectors @ query.astype(np.float16)
    truth = vectors.astype(np.float64) @ query.astype(np.float64)
    assert set(np.argsort(-narrow)[:10]) != set(np.argsort(-truth)[:10])
    _, rows = search_exactly(Rows(vectors), query[None], 10, np.ones(500, np.bool_))
    assert rows[0].tolist() == np.argsort(-truth)[:10].tolist()


@pytest.mark.parametrize("extreme", ["one number", "equal numbers", "subnormal numbers"])
def test_extreme_vectors(extreme):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 512))
    if extreme == "one number":
        vectors = np.eye(512)[rng.integers(0, 512, 300)] + 1e-3 * vectors
    elif extreme == "equal numbers":
        vectors = np.abs(np.ones((300, 512)) + 1e-3 * vectors)
    else:
        vectors[:, 1:] *= 1e-6
    vectors = unit(vectors).astype(np.float16)
    query = unit(vectors[0].astype(np.float32) + 1e-4)
    allowed = np.ones(300, np.bool_)
    scores, rows = search_exactly(Rows(vectors), query[None], 20, allowed)
    truth = vectors.astype(np.float64) @ query[:, None].astype(np.float64)
    assert check_found(truth, allowed, 20, scores, rows) == 1


def test_equal_rows_have_equal_cosines_and_pages_agree():
    vectors = clustered(400, 33, 1)
    vectors[200:] = vectors[:200]
    asked = queries(1, 33, 2)
    allowed = np.ones(400, np.bool_)
    scores, rows = search_exactly(Rows(vectors), asked, 400, allowed)
    assert np.array_equal(scores[0, ::2], scores[0, 1::2])
    assert np.array_equal(rows[0, 1::2], rows[0, ::2] + 200)
    for k in (1, 7, 100):
        fewer = search_exactly(Rows(vectors), asked, k, allowed)
        assert np.array_equal(fewer[0], scores[:, :k])
        assert np.array_equal(fewer[1], rows[:, :k])


@pytest.mark.parametrize("first", [0, 1, 999, 1000, 1001, 2499, 2500])
def test_rows_before_the_first_are_left_out(first):
    vectors, asked = clustered(2500, 8, 3), queries(2, 8, 4)
    later = np.arange(2500) >= first
    for allowed in (np.ones(2500, np.bool_), np.arange(2500) % 3 > 0, np.arange(2500) % 99 == 0):
        before, rows = Rows(vectors), Rows(vectors)
        found = search_exactly(rows, asked, 12, allowed, first=first)
        whole = search_exactly(before, asked, 12, allowed & later)
        assert np.array_equal(found[0], whole[0])
        assert np.array_equal(found[1], whole[1])


def test_few_allowed_rows_are_read_alone():
    vectors = clustered(2500, 8, 5)
    rows = Rows(vectors)
    rows.blocks = None  # all would be read
    allowed = np.zeros(2500, np.bool_)
    allowed[[5, 1700, 2400]] = True
    _, found = search_exactly(rows, queries(1, 8, 6), 5, allowed)
    assert set(found[0, :3]) == {5, 1700, 2400}
    assert rows.read == [3]


def test_many_segments_and_blocks_of_a_real_index(tmp_path):
    vectors = clustered(70_000, 4, 7)
    store = make_store(tmp_path / "index", EXACT, vectors[:66_000])
    add(store, vectors[66_000:69_000])
    add(store, vectors[69_000:])
    snapshot = store.snapshot()
    assert sum(1 for _ in snapshot.blocks()) > 3
    asked = queries(3, 4, 8)
    allowed = np.random.default_rng(0).random(70_000) < 0.5
    found = search_exactly(snapshot, asked, 50, allowed)
    truth = vectors.astype(np.float32) @ asked.T
    assert check_found(truth, allowed, 50, *found) == 1
    assert np.allclose(found[0][0, 0], truth[allowed, 0].max(), atol=CLOSE)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many") / "index"
    return make_store(folder, EXACT, clustered(100_000, 64, 9)).snapshot()


@pytest.mark.parametrize("share", [1, 0.5, 0.01])
def test_little_memory(many, share):
    snapshot, rows, asked = many, len(many), queries(1, 64, 10)
    allowed = np.random.default_rng(0).random(rows) < share
    tracemalloc.start()
    search_exactly(snapshot, asked, 10, allowed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * rows  # a score or two of each; the vectors themselves are 128 bytes each
