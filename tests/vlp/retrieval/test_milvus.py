"""Milvus Lite on files that several processes share, and options."""

import os
import shutil
import sys

import numpy as np
import pytest

from tests.vlp.retrieval.backend_contract import Case, add, check_search, clustered, queries
from tests.vlp.retrieval.backend_contract import make_store as make_case
from tests.vlp.retrieval.index_states import silent
from tests.vlp.retrieval.milvus_servers import DIM, ONE, add_and_search, backend_of
from tests.vlp.retrieval.processes import printed
from vlp.errors import InputError, RunError
from vlp.retrieval.backends import milvus
from vlp.retrieval.backends.milvus import MilvusBackend
from vlp.retrieval.backends.milvus_collection import Collection
from vlp.retrieval.store import Store

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "index"
    return make_case(folder, Case("", "milvus"), clustered(300, DIM, 1)).folder


@pytest.fixture
def in_folder(whole, tmp_path):
    return Store(shutil.copytree(whole, tmp_path / "index"))


class TestFolder:
    def test_others_search_and_add_meanwhile(self, in_folder, tmp_path):
        reader = backend_of(in_folder)
        asked = queries(2, DIM, 2)
        before = reader.search(asked, 5, reader.snapshot.live)
        assert printed(tmp_path / "printed", add_and_search, in_folder.folder) == ""
        again = reader.search(asked, 5, reader.snapshot.live)
        assert np.array_equal(before[1], again[1])
        reader.close()
        assert check_search(in_folder, asked, 350) == 1

    def test_nothing_stays_behind(self, in_folder, monkeypatch, tmp_path):
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        check_search(in_folder, queries(1, DIM, 2), 5)  # closes
        assert os.listdir(temporary) == []
        backend = backend_of(in_folder)
        backend.search(queries(1, DIM, 2), 5, backend.snapshot.live)
        (own,) = os.listdir(temporary)
        killed = own.replace(f".{os.getpid()}.", ".999999999.")
        (temporary / killed / "links.db").mkdir(parents=True)
        other = backend_of(in_folder)
        other.search(queries(1, DIM, 2), 5, backend.snapshot.live)
        assert own in os.listdir(temporary)
        assert killed not in os.listdir(temporary)
        other.close()
        del backend
        assert os.listdir(temporary) == []

    def test_a_change_shares_files_with_the_state_before(self, in_folder):
        def data():
            return [p.stat().st_ino for p in sorted(in_folder.folder.rglob("data_*.parquet"))]

        before = data()
        add(in_folder, ONE)
        assert before[0] in data()
        assert len(data()) == 2

    def test_a_file_system_without_links(self, in_folder, monkeypatch):
        def refuse(source, target):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
        monkeypatch.setattr(os, "symlink", refuse)
        add(in_folder, ONE)
        assert check_search(in_folder, queries(2, DIM, 2), 5) == 1

    def test_removal_alone_changes_no_file(self, in_folder):
        before = in_folder.snapshot().manifest.backend.state
        in_folder.change(remove=[1, 2], say=silent)
        assert in_folder.snapshot().manifest.backend.state == before

    @pytest.mark.parametrize("what", ["parquet", "schema.json", "folder"])
    def test_damage_is_named(self, in_folder, what):
        path = in_folder.folder / in_folder.snapshot().manifest.backend.state["files"][0]
        if what == "folder":
            shutil.rmtree(path)
        else:
            (file,) = path.rglob(f"*{what}")
            file.write_bytes(file.read_bytes()[:100])
        before = in_folder.snapshot().manifest
        for use in (
            lambda: check_search(in_folder, queries(1, DIM, 2), 5),
            lambda: add(in_folder, ONE),
        ):
            with pytest.raises(RunError, match=path.name if what == "folder" else "Milvus at"):
                use()
        assert in_folder.snapshot().manifest == before
        in_folder.rebuild("milvus", {}, silent)
        assert check_search(in_folder, queries(1, DIM, 2), 5) == 1


class TestSearch:
    def test_after_closing_it_is_exact(self, in_folder):
        backend = backend_of(in_folder)
        asked, live = queries(1, DIM, 2), backend.snapshot.live
        before = backend.search(asked, 5, live)
        backend.close()
        backend.close()
        assert np.array_equal(backend.search(asked, 5, live)[1], before[1])

    def test_more_than_milvus_gives(self, in_folder, monkeypatch):
        monkeypatch.setattr(milvus, "MOST", 50)
        assert check_search(in_folder, queries(2, DIM, 2), 51) == 1
        assert check_search(in_folder, queries(2, DIM, 2), 40) == 1
        asked = queries(1, DIM, 2)
        vectors = np.concatenate([block for _, block in in_folder.snapshot().blocks()])
        condition = np.argsort(np.argsort(-(vectors @ asked[0]))) >= 100  # the nearest are not
        assert check_search(in_folder, asked, 10, condition) == 1

    def test_only_near_rows_are_asked_for(self, in_folder, monkeypatch):
        limits = []
        real = Collection.nearest
        monkeypatch.setattr(
            Collection, "nearest", lambda self, q, n: (limits.append(n), real(self, q, n))[1]
        )
        check_search(in_folder, queries(1, DIM, 2), 10)
        check_search(in_folder, queries(1, DIM, 2), 10, np.arange(300) < 3)  # few: without Milvus
        assert limits == [22]


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"nonsense": 1}, "no option nonsense; it has server"),
            ({"token": "secret"}, "no option token"),
            ({"server": "localhost:19530"}, "an address is like"),
            ({"server": "./milvus.db"}, "an address is like"),
            ({"server": ""}, "an address is like"),
            ({"server": "http://"}, "an address is like"),
            ({"server": "ftp://host"}, "an address is like"),
            ({"server": "http://host:many"}, "an address is like"),
            ({"server": "http://[::1"}, "an address is like"),
            ({"server": 19530}, "an address is like"),
            ({"server": "http://root:secret@host"}, "set MILVUS_TOKEN"),
        ],
    )
    def test_unusable_ones(self, options, match):
        with pytest.raises(InputError, match=match) as caught:
            MilvusBackend.check(options)
        assert "secret" not in str(caught.value)

    def test_without_the_package(self, monkeypatch):
        from vlp.retrieval.backends.milvus_collection import import_milvus

        import_milvus.cache_clear()
        monkeypatch.setitem(sys.modules, "pymilvus", None)
        with pytest.raises(InputError, match=r"needs pymilvus: pip install 'vlp\[milvus\]'"):
            MilvusBackend.check({})
