"""faiss reaches the recall that it says, keeps up with changes, and refuses what cannot be."""

import re
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vlp.retrieval.backend_contract import (
    CHANGES,
    Case,
    add,
    apply_change,
    check_search,
    clustered,
    make_store,
    queries,
    silent,
)
from vlp.errors import InputError, RunError
from vlp.retrieval.backends import faiss as backend
from vlp.retrieval.backends import faiss_tuning
from vlp.retrieval.backends.faiss_index import FEW, FaissIndex, Setting, choose_factory
from vlp.retrieval.backends.faiss_search import interpolated
from vlp.retrieval.backends.faiss_tuning import _ladder, _least, _tuned
from vlp.retrieval.background import Background
from vlp.retrieval.store import Store

faiss = pytest.importorskip("faiss")

DIM = 16
IVF = Case("", "faiss", {"factory": "IVF8,SQ8", "recall": 0.99})


def texts(number, dim, seed):
    """Unit vectors beside the cloud of pictures, as those of texts are."""
    gap = 2 * np.random.default_rng(1).standard_normal(dim) / np.sqrt(dim)
    vectors = queries(number, dim, seed) + gap
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def state(store):
    return store.snapshot().manifest.backend.state


def opened(store):
    snapshot = store.snapshot()
    mark = snapshot.manifest.backend
    return backend.FaissBackend(snapshot, mark.options, mark.state), snapshot


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of 700 rows with a file of faiss."""
    folder = tmp_path_factory.mktemp("made") / "index"
    return make_store(folder, IVF, clustered(700, DIM, 1)).folder


@pytest.fixture
def store(made, tmp_path):
    return Store(shutil.copytree(made, tmp_path / "index"))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """30,000 clustered rows with a background, and what was said."""
    folder = tmp_path_factory.mktemp("large") / "index"
    store = Store.create(
        folder,
        dim=32,
        modality="image",
        model=None,
        background=Background(texts(300, 32, 2)),
    )
    add(store, clustered(30_000, 32, 3, clusters=200))
    said = []
    store.rebuild("faiss", {}, said.append)
    return store, said


@pytest.mark.parametrize("dim", [2, 7, 512, 768])
def test_every_choice_can_be_made_and_trained(dim):
    assert choose_factory(FEW - 1, dim) is None
    for rows in [FEW, 30_000, 65_000, 199_999, 200_000, 10**6, 10**7, 10**9]:
        factory = choose_factory(rows, dim)
        assert FaissIndex.make(factory, dim).least_rows <= rows, factory


def test_the_choice_for_a_million():
    assert choose_factory(1_000_000, 512) == "IVF4000,PQ256x4fs"
    assert choose_factory(1_000_000, 511) == "IVF4000,SQ8"
    assert choose_factory(100_000, 512) == "IVF1265,SQ8"


def test_the_recall_that_it_says_is_what_others_measure(large):
    store, said = large
    assert state(store)["factory"] == choose_factory(30_000, 32)
    assert "recall@10 against exact" in said[-1]
    assert "on 150 texts and" in said[-1]
    assert f"{state(store)['recall']['texts']:.3f}" in said[-1]
    for asked, kind in ((texts(200, 32, 50), "texts"), (queries(200, 32, 51), "pictures")):
        measured = check_search(store, asked, 10)
        assert measured >= 0.95
        assert abs(measured - state(store)["recall"][kind]) < 0.04


@pytest.mark.parametrize("k", [1, 50, 100, 1000, 5000])
def test_recall_at_other_depths(large, k):
    store, _ = large
    assert check_search(store, queries(30, 32, 52), k) >= 0.93


@pytest.mark.parametrize("share", [0.99, 0.5, 0.1, 0.03])
def test_recall_under_a_condition(large, share):
    store, _ = large
    condition = np.random.default_rng(0).random(30_000) < share
    assert check_search(store, queries(100, 32, 53), 10, condition) >= 0.93


def test_recall_under_a_condition_on_one_cluster(large):
    store, _ = large
    vectors = np.concatenate([block for _, block in store.snapshot().blocks()]).astype(np.float32)
    asked = queries(20, 32, 54)
    far = (vectors @ asked.T).max(axis=1) < 0.5
    assert check_search(store, asked, 10, far) >= 0.6  # no promise, but no empty page either


@pytest.mark.parametrize(
    "factory", ["IVF64,PQ16x4fs", "RR32,IVF64,SQ8", "HNSW16,SQ8", "IVF64_HNSW8,Flat"]
)
def test_other_factories(tmp_path, factory):
    case = Case("", "faiss", {"factory": factory})
    store = make_store(tmp_path / "index", case, clustered(5000, 32, 4))
    assert check_search(store, queries(100, 32, 55), 10) >= 0.93


def test_what_is_out_of_reach_is_said(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((4000, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store = make_store(tmp_path / "index", Case("", "exact"), vectors.astype(np.float16))
    said = []
    store.rebuild("faiss", {"factory": "IVF64,PQ4x4fs", "recall": 0.99}, said.append)
    assert "0.99 is out of reach" in said[-1]
    assert max(state(store)["recall"].values()) < 0.99
    check_search(store, queries(5, 64, 56), 10)


def test_the_breadth_that_is_said_is_that_of_the_search(tmp_path):
    store = make_store(tmp_path / "index", Case("", "exact"), clustered(600, DIM, 14))
    said = []
    store.rebuild("faiss", {"factory": "HNSW16,SQ8"}, said.append)
    breadth, candidates = map(int, re.search(r"efSearch (\d+), (\d+) cand", said[-1]).groups())
    assert breadth >= candidates >= 10


def test_what_is_reached_without_the_reserve_is_not_called_out_of_reach():
    trial = mock.Mock(recalls=lambda _depth, _effort, counts: [0.955] * len(counts))
    index = mock.Mock(most_effort=8)
    assert _tuned(index, [trial], 10, 0.95)[1]
    assert not _tuned(index, [trial], 10, 0.96)[1]


def test_a_file_that_goes_while_it_is_opened_is_not_called_damaged(store, monkeypatch):
    def late(path, _flags):
        Path(path).unlink()
        raise RuntimeError("could not open for reading")

    monkeypatch.setattr(faiss, "read_index", late)
    with pytest.raises(FileNotFoundError):  # by which readers take the newer state
        opened(store)


def test_the_same_rows_make_the_same_file(tmp_path):
    vectors = clustered(3000, DIM, 5)
    made = [make_store(tmp_path / name, IVF, vectors) for name in "ab"]
    files = [store.folder / state(store)["files"][0] for store in made]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert state(made[0]) == state(made[1])


def test_new_rows_lie_beside_the_file_until_they_are_many(store, monkeypatch):
    monkeypatch.setattr(backend, "FEW", 100)
    first = state(store)
    add(store, clustered(100, DIM, 6))
    assert state(store) == first
    add(store, clustered(1, DIM, 7))
    second = state(store)
    assert (second["rows"], second["trained_rows"]) == (801, 700)
    assert second["files"] != first["files"]
    assert [path.name for path in store.folder.glob("backend-*")] == second["files"]
    assert len(opened(store)[0]._searcher.index) == 801
    add(store, clustered(500, DIM, 8))
    assert state(store)["tuned_rows"] == 1301  # the recall is measured again
    add(store, clustered(2000, DIM, 9))
    assert state(store)["trained_rows"] == 3301  # and at last it is trained again
    assert check_search(store, queries(200, DIM, 57), 10) >= 0.95


@settings(max_examples=15, deadline=None, derandomize=True)
@given(changes=CHANGES, seed=st.integers(0, 1000))
def test_any_sequence_of_changes_that_continues_files(changes, seed):
    with (
        mock.patch.object(backend, "FEW", 20),
        mock.patch.object(faiss_tuning, "_QUERIES", 10),  # its recall is of no interest here
        tempfile.TemporaryDirectory() as folder,
    ):
        store = make_store(Path(folder, "index"), IVF, clustered(350, DIM, seed))
        for turn, change in enumerate(changes):
            apply_change(store, IVF, change, seed + turn)
            covered, rows = state(store)["rows"], len(store.snapshot())
            assert rows - 20 <= covered <= rows or rows < 312
            check_search(store, queries(2, DIM, seed), 7)


def test_a_small_index_gets_its_file_when_it_has_grown(tmp_path):
    said = []
    store = make_store(tmp_path / "index", IVF, clustered(100, DIM, 10))
    store.rebuild("faiss", IVF.options, said.append)
    assert said == ["faiss: 100 rows are searched exactly; IVF8,SQ8 needs 312"]
    assert state(store) == {"files": [], "rows": 0}
    add(store, clustered(300, DIM, 11))
    assert state(store)["rows"] == 400


def test_rows_are_added_though_training_fails(tmp_path):
    case = Case("", "exact")
    store = make_store(tmp_path / "index", case, clustered(100, DIM, 12))
    said = []
    store.rebuild("faiss", {"factory": "IVF2,PQ8x8"}, said.append)  # 256 rows for its codes
    assert said[-1].startswith("faiss: 100 rows are searched exactly; IVF2,PQ8x8 cannot be trained")
    assert "(100) should be at least" in said[-1]
    add(store, clustered(10, DIM, 13))
    assert check_search(store, queries(5, DIM, 62), 10) == 1


def test_a_full_disk_changes_nothing(store, monkeypatch):
    before = store.snapshot().manifest

    def full(_index, _path):
        raise RuntimeError("Error: 'ret == (size)' failed: write error: No space left on device")

    monkeypatch.setattr(faiss, "write_index", full)
    with pytest.raises(RunError, match=r"000003\.index cannot be written.*No space left"):
        store.rebuild("faiss", IVF.options, silent)
    assert store.snapshot().manifest == before
    assert not list(store.folder.glob(".*.tmp"))
    check_search(store, queries(2, DIM, 63), 5)


def test_compaction_makes_the_file_anew(store):
    ids = store.snapshot().ids
    store.change(remove=ids[:200], say=silent)
    assert state(store)["rows"] == 500
    store.change(remove=ids[200:450], say=silent)
    assert state(store) == {"files": [], "rows": 0}
    assert not list(store.folder.glob("backend-*"))
    assert check_search(store, queries(5, DIM, 58), 10) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recall": 0}, "recall must be above 0"),
        ({"recall": 1.01}, "recall must be above 0"),
        ({"recall": True}, "recall must be above 0"),
        ({"recall": "high"}, "recall must be above 0"),
        ({"recall": float("nan")}, "recall must be above 0"),
        ({"factory": 7}, "factory must be a text"),
        ({"factory": ""}, "factory must be a text"),
        ({"factory": "Nonsense"}, "Nonsense"),
        ({"factory": "IVF8,PQ7x4fs"}, "vectors of 16 numbers"),
        ({"factory": "Flat"}, "only IVF"),
        ({"factory": "IVF8,SQ8,RFlat"}, "only IVF"),
        ({"factory": "IDMap,IVF8,SQ8"}, "only IVF"),
        ({"factory": "IVF0,SQ8"}, "no cells"),
        ({"nprobe": 3}, "no option nprobe"),
    ],
)
def test_options_that_cannot_be(store, options, message):
    before = store.snapshot().manifest
    with pytest.raises(InputError, match=message):
        store.rebuild("faiss", options, silent)
    assert store.snapshot().manifest == before
    check_search(store, queries(2, DIM, 59), 5)


@pytest.mark.parametrize("factory", ["Nonsense", "IVF8,SQ9", "IVF8,PQ16x40", "Flat", "IVF0,SQ8"])
def test_what_suits_no_vectors_is_refused_before_there_are_any(factory):
    with pytest.raises(InputError) as caught:
        backend.FaissBackend.check({"factory": factory})
    assert "cpp" not in str(caught.value)


@pytest.mark.parametrize("factory", ["IVF8,PQ7x4fs", "IVF8,PQ11", "HNSW16,PQ7", "OPQ7,IVF8,PQ7"])
def test_what_suits_some_vectors_is_not(factory):
    assert backend.FaissBackend.check({"factory": factory})["factory"] == factory


def test_a_damaged_file_is_told_from_one_that_is_gone(store):
    path = store.folder / state(store)["files"][0]
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(InputError, match=r"000002\.index is damaged"):
        opened(store)
    path.write_bytes(b"\x00" * len(content))
    with pytest.raises(InputError, match=r"000002\.index is damaged"):
        opened(store)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        opened(store)
    store.rebuild("faiss", IVF.options, silent)
    check_search(store, queries(2, DIM, 60), 5)


def test_the_package_is_named_when_it_is_not_installed(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match=r"pip install 'vlp\[faiss\]'"):
        store.rebuild("faiss", {}, silent)
    with pytest.raises(InputError, match=r"pip install 'vlp\[faiss\]'"):
        opened(store)


def test_a_search_in_a_mapped_file_starts_no_threads(store):
    searcher, _ = opened(store)  # the lists live as long as it does
    lists = faiss.downcast_InvertedLists(searcher._searcher.index._inner.invlists)
    assert isinstance(lists, faiss.OnDiskInvertedLists)
    assert lists.prefetch_nthread == 0


def test_the_number_of_threads_is_left_alone(store):
    searcher, snapshot = opened(store)
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(before + 1)
        searcher.search(queries(1, DIM, 61), 5, snapshot.live)
        assert faiss.omp_get_max_threads() == before + 1
    finally:
        faiss.omp_set_num_threads(before)


SETTINGS = {10: Setting(4, 40), 100: Setting(16, 200), 1000: Setting(64, 1250)}


@pytest.mark.parametrize(("depth", "tuned"), SETTINGS.items())
def test_tuned_depths_keep_their_settings(depth, tuned):
    assert interpolated(SETTINGS, depth) == tuned
    assert interpolated(SETTINGS, 1) == SETTINGS[10]
    assert interpolated(SETTINGS, 1001) == SETTINGS[1000]
    assert interpolated(SETTINGS, 1200) is None


@given(st.floats(1, 1000), st.floats(1, 1000))
def test_deeper_is_never_less(one, other):
    less, more = interpolated(SETTINGS, min(one, other)), interpolated(SETTINGS, max(one, other))
    assert less.effort <= more.effort
    assert less.candidates <= more.candidates


@given(st.integers(1, 5000), st.integers(0, 6000))
def test_the_least_that_suffices(most, bar):
    ladder = _ladder(most)
    assert ladder == sorted(set(ladder))
    assert (ladder[0], ladder[-1]) == (1, most)
    expected = next((step for step in ladder if step >= bar), most)
    assert _least(ladder, lambda step: step >= bar) == expected
