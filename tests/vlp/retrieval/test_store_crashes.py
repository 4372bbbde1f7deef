"""An index is as before or as after a change, wherever in it a process ends."""

import os
import shutil
from importlib.util import find_spec

import pytest

from tests.vlp.retrieval.backend_contract import check_search, queries
from tests.vlp.retrieval.crashes import CHANGES, OPTIONS, crash, leave, rebuild
from tests.vlp.retrieval.index_states import (
    DIM,
    addition,
    content,
    leftovers,
    make_store,
    silent,
)
from vlp.retrieval.store import Store

PACKAGES = {"exact": "numpy", "faiss": "faiss", "milvus": "pymilvus"}
STEPS = {"exact": 1, "faiss": 5, "milvus": 23}  # every so many operations: Milvus is slow
_MOST = 200  # operations of a change


@pytest.fixture(params=sorted(PACKAGES), scope="module")
def backend(request):
    if find_spec(f"vlp.retrieval.backends.{request.param}") is None:
        pytest.skip(f"there is no backend {request.param}")
    pytest.importorskip(PACKAGES[request.param])
    return request.param


@pytest.fixture(scope="module")
def whole(backend, tmp_path_factory):
    store = make_store(tmp_path_factory.mktemp(backend) / "index", rows=50)
    store.rebuild(backend, OPTIONS[backend], silent)
    store.change(add=[addition(20, 1)], remove=[2], say=silent)
    return store.folder


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_wherever_a_process_ends(backend, whole, change, tmp_path, monkeypatch):
    if backend == "exact" and change in (rebuild, leave):
        pytest.skip("it compacts, as another change does")
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    old = content(Store(whole).snapshot())
    done = Store(shutil.copytree(whole, tmp_path / "done"))
    change(done, backend)
    new = content(done.snapshot())
    for operation in range(1, _MOST, STEPS[backend]):
        folder = shutil.copytree(whole, tmp_path / f"{operation}")
        if not crash(folder, change.__name__, backend, operation):
            break
        store = Store(folder)
        found = content(store.snapshot())
        assert found in (old, new)
        goes_on(store)
        shutil.rmtree(folder)
    else:
        pytest.fail("it never ended")
    assert operation > 10


def goes_on(store):
    """Search, and another change, are as if nothing had been."""
    before = content(store.snapshot())
    assert check_search(store, queries(2, DIM, 1), 5) >= 0.9
    ids = store.change(add=[addition(3, 9)], say=silent)
    after = content(store.snapshot())
    assert after.keys() == before.keys() | set(ids.tolist())
    assert all(after[own] == before[own] for own in before)
    assert check_search(store, queries(2, DIM, 2), 5) >= 0.9
    assert leftovers(store.folder) == []
