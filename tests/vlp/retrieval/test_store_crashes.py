"""An index is as before or as after a change, wherever in it a process ends."""

import os
import shutil

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

STEPS = {"exact": 1, "faiss": 4, "milvus": 17}  # every so many operations: Milvus is slow
_MOST = 200  # operations of a change


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
    assert operation > 5


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


def test_files_are_on_the_disk_before_they_are_named(tmp_path, monkeypatch):
    """And the new manifest before anything is removed: a machine may lose power."""
    store, events = make_store(tmp_path / "index", rows=10), []
    flush, rename, remove = os.fsync, os.replace, os.unlink

    def fsync(descriptor):
        events.append(("flush", os.readlink(f"/proc/self/fd/{descriptor}")))
        flush(descriptor)

    def replace(source, target):
        assert ("flush", str(source)) in events
        events.append(("rename", str(target)))
        rename(source, target)

    def unlink(path, **options):
        events.append(("remove", str(path)))
        remove(path, **options)

    for function in (fsync, replace, unlink):
        monkeypatch.setattr(os, function.__name__, function)
    store.change(add=[addition(20, 1)], remove=[0], say=silent)
    folder = str(store.folder)
    commit = events.index(("rename", f"{folder}/index.json"))
    written = [number for number, (kind, _) in enumerate(events[:commit]) if kind == "rename"]
    assert len(written) == 4  # three of a segment, and what is removed
    for place in (f"{folder}/segments", folder):
        assert ("flush", place) in events[written[-1] : commit]
    assert events[commit + 1] == ("flush", folder)
    kinds = [kind for kind, _ in events]
    assert kinds.count("remove") == 3
    assert kinds.index("remove") > commit
