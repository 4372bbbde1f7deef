"""Damaged files, unwritable folders, full disks and other writers are told by name."""

import shutil
import threading
import time

import numpy as np
import pytest

from tests.vlp.retrieval.hindrances import (
    change_on_full_disk,
    search,
    use_read_only,
    write_without_end,
)
from tests.vlp.retrieval.index_states import (
    DIM,
    addition,
    content,
    leftovers,
    make_store,
    silent,
    unit_vectors,
)
from tests.vlp.retrieval.processes import printed, processes
from vlp.errors import InputError, RunError
from vlp.retrieval.retriever import Retriever
from vlp.retrieval.store import Store

VECTORS, METADATA, HUBNESS = (
    f"segments/000001-0.{kind}" for kind in ("vectors.npy", "metadata.arrow", "hubness.npy")
)
REMOVED, BACKGROUND, MANIFEST = "removed-000002.npy", "background.npz", "index.json"
FILES = (VECTORS, METADATA, HUBNESS, REMOVED, BACKGROUND, MANIFEST)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "index"
    store = make_store(folder, rows=40)
    store.change(remove=[3, 5], say=silent)
    search(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "index")


def damaged(data, how):
    if how == "half":
        return data[: len(data) // 2]
    if how == "short":
        return data[:-1]
    return b"" if how == "empty" else b"\x93nonsense" * (len(data) // 9 + 1)


@pytest.mark.parametrize("how", ["half", "short", "empty", "nonsense"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(folder, name, how):
    path = folder / name
    path.write_bytes(damaged(path.read_bytes(), how))
    if (name, how) == (MANIFEST, "short"):  # but for the line break at its end it is whole
        assert search(folder)
        return
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        search(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        search(folder)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        (VECTORS, unit_vectors(40, dim=DIM + 1)),
        (VECTORS, unit_vectors(39)),
        (VECTORS, unit_vectors(40).astype(np.float32)),
        (VECTORS, unit_vectors(40)[0]),
        (HUBNESS, np.zeros(39, np.float32)),
        (REMOVED, np.array([3, 77])),
        (REMOVED, np.array([3])),
        (VECTORS, np.array([None] * 40)),
    ],
)
def test_a_file_of_another_shape_is_named(folder, name, other):
    np.save(folder / name, other, allow_pickle=True)
    with pytest.raises(InputError, match=r"removed" if name == REMOVED else name):
        search(folder)


def test_metadata_of_another_segment(folder):
    store = Store(folder)
    store.change(add=[addition(3)], say=silent)
    segment = store.snapshot().manifest.segments[-1].name
    shutil.copyfile(folder / f"segments/{segment}.metadata.arrow", folder / METADATA)
    with pytest.raises(InputError, match=METADATA):
        search(folder)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"schema": 1', '"schema": 2', "schema 2; this version reads 1"),
        (f'"dim": {DIM}', '"dim": 9', "vectors.npy"),
        (f'"dim": {DIM}', '"dim": "many"', "index.json"),
        ('"rows": 40', '"rows": -1', "index.json"),
        ('"rows": 40', '"rows": null', "index.json"),
        ('"segments": [', '"segments": [3, ', "index.json"),
        ('"removed_rows": 2', '"removed_rows": 2, "surplus": 1', "surplus"),
        ('"name": "exact"', '"name": "annoy"', "annoy"),
        ('"name": "000001-0"', '"name": "../../x"', "index.json"),
        ('"state": {}', '"state": []', "index.json"),
        ('"state": {}', '"state": {"files": [".."]}', "index.json"),
        ('"generation": 2', '"generation": "two"', "index.json"),
    ],
)
def test_a_manifest_that_somebody_changed(folder, old, new, match):
    path = folder / MANIFEST
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=match):
        search(folder)


def test_no_index(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=r"is no index: it has no index\.json"):
            Retriever.load(folder)


def test_a_folder_that_is_read_only_is_searched(folder, tmp_path):
    found = printed(tmp_path / "printed", use_read_only, folder)
    assert found.splitlines() == [
        "5",
        f"{folder} cannot be changed: Read-only file system",
    ]


@pytest.mark.parametrize("room", [0, 1000, 5000, 8200])
def test_a_full_disk_changes_nothing(folder, room, tmp_path):
    before = content(Store(folder).snapshot())
    told = printed(tmp_path / "printed", change_on_full_disk, folder, room)
    assert told.startswith(f"{folder} was not changed: ")
    assert content(Store(folder).snapshot()) == before
    assert leftovers(folder) == []


def test_another_process_is_writing(folder, tmp_path):
    begun = tmp_path / "begun"
    other = processes.Process(target=write_without_end, args=(folder, begun))
    other.start()
    while not begun.exists():
        assert other.exitcode is None
        time.sleep(0.01)
    store = Store(folder)
    before = content(store.snapshot())
    with pytest.raises(RunError, match=r"another process is changing .*: try later"):
        store.change(add=[addition(1)], say=silent)
    with pytest.raises(RunError, match="another process is changing"):
        store.rebuild("exact", {}, silent)
    assert search(folder)  # who reads needs not wait
    assert content(store.snapshot()) == before
    other.kill()
    other.join()
    store.change(add=[addition(1)], say=silent)
    assert len(content(store.snapshot())) == len(before) + 1


def test_another_thread_is_writing(folder):
    store, errors = Store(folder), []

    def change():
        try:
            store.change(add=[addition(1)], say=silent)
        except RunError as error:
            errors.append(str(error))

    with store.exclusive():
        thread = threading.Thread(target=change)
        thread.start()
        thread.join()
        store.change(remove=[0], say=silent)  # this one may
    assert len(errors) == 1
    assert "another process" in errors[0]
    change()
    assert len(errors) == 1
