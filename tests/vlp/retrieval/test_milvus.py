"""Milvus: Lite on files that processes share, servers that go away, and nothing left there."""

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.vlp.retrieval.backend_contract import Case, add, check_search, clustered, queries
from tests.vlp.retrieval.backend_contract import make_store as make_case
from tests.vlp.retrieval.index_states import content, leftovers, silent
from vlp.errors import InputError, RunError
from vlp.retrieval.backends import milvus
from vlp.retrieval.backends.milvus import MilvusBackend
from vlp.retrieval.backends.milvus_collection import Collection
from vlp.retrieval.store import Addition, Store

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

DIM = 16
SERVER = """
    import sys
    from milvus_lite.adapter.grpc.server import run_server
    run_server(sys.argv[1], "127.0.0.1", int(sys.argv[2]))
"""


class Server:
    """Milvus Lite as a server of its own, in the place of a cluster."""

    def __init__(self, folder):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.process = None

    def start(self):
        code = textwrap.dedent(SERVER)
        command = [sys.executable, "-c", code, str(self.folder), str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(300):
            try:
                self.collections()
                return
            except RunError:
                time.sleep(0.1)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def collections(self):
        with Collection(self.uri) as connection:
            return sorted(connection._client.list_collections())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = Server(tmp_path_factory.mktemp("server") / "data")
    one.start()
    yield one
    one.stop()


@pytest.fixture
def store(server, tmp_path):
    """An index of 300 rows at the server, which is gone from there afterwards."""
    case = Case("", "milvus", {"server": server.uri, "index_type": "FLAT"})
    store = make_case(tmp_path / "index", case, clustered(300, DIM, 1))
    yield store
    store.rebuild("exact", {}, silent)


@pytest.fixture
def in_folder(tmp_path):
    return make_case(tmp_path / "index", Case("", "milvus"), clustered(300, DIM, 1))


def backend_of(store):
    snapshot = store.snapshot()
    mark = snapshot.manifest.backend
    return MilvusBackend(snapshot, mark.options, mark.state)


def collection_of(store):
    return store.snapshot().manifest.backend.state["collection"]


class TestServer:
    @pytest.mark.parametrize("index_type", ["AUTOINDEX", "FLAT", "HNSW"])
    def test_finds_what_is_there(self, server, store, index_type):
        store.rebuild("milvus", {"server": server.uri, "index_type": index_type}, silent)
        assert check_search(store, queries(4, DIM, 2), 10) >= 0.95
        assert check_search(store, queries(4, DIM, 2), 300) == 1
        add(store, clustered(50, DIM, 3))
        store.change(remove=np.arange(20), say=silent)
        assert check_search(store, queries(4, DIM, 2), 10) >= 0.95
        condition = np.arange(350) % 3 == 0
        assert check_search(store, queries(4, DIM, 2), 10, condition) >= 0.95

    def test_two_indexes(self, server, store, tmp_path):
        case = Case("", "milvus", {"server": server.uri})
        other = make_case(tmp_path / "other", case, clustered(100, 8, 5))
        assert collection_of(other) != collection_of(store)
        add(other, clustered(10, 8, 6))
        assert check_search(other, queries(2, 8, 2), 5) >= 0.95
        assert check_search(store, queries(2, DIM, 2), 5) == 1
        other.rebuild("exact", {}, silent)
        assert check_search(store, queries(2, DIM, 2), 5) == 1

    def test_old_collections_are_dropped(self, server, store):
        first = collection_of(store)
        store.rebuild("milvus", {"server": server.uri}, silent)
        assert server.collections() == [collection_of(store)] != [first]
        store.change(remove=np.arange(200), say=silent)  # compacts
        assert server.collections() == [collection_of(store)]
        store.rebuild("exact", {}, silent)
        assert server.collections() == []
        assert leftovers(store.folder) == []

    def test_old_readers_go_on(self, server, store):
        opened, unopened = backend_of(store), backend_of(store)
        live, asked = opened.snapshot.live, queries(2, DIM, 4)
        before = opened.search(asked, 5, live)
        store.rebuild("milvus", {"server": server.uri}, silent)
        for backend in (opened, unopened):
            assert np.array_equal(backend.search(asked, 5, live)[1], before[1])
            backend.close()

    def test_what_a_dead_writer_left_is_not_found(self, server, store):
        asked = queries(1, DIM, 5)
        ghosts = np.repeat(asked.astype(np.float16), 400, axis=0)
        snapshot = make_ghosts(store, ghosts)
        assert server.collections() == [collection_of(store)]
        assert check_search(store, asked, 10) == 1
        add(store, clustered(30, DIM, 6))
        assert check_search(store, asked, 10) == 1
        assert len(snapshot) == 700

    def test_a_copy_gets_a_collection_of_its_own(self, server, store, tmp_path):
        copy = Store(shutil.copytree(store.folder, tmp_path / "copy"))
        assert check_search(copy, queries(2, DIM, 2), 5) == 1
        add(copy, clustered(40, DIM, 7))
        add(store, clustered(40, DIM, 8))
        for one in (copy, store):
            assert check_search(one, queries(2, DIM, 2), 340) == 1
        assert server.collections() == sorted([collection_of(copy), collection_of(store)])
        copy.rebuild("exact", {}, silent)
        assert server.collections() == [collection_of(store)]

    def test_a_collection_that_is_gone_is_named(self, server, store):
        with Collection(server.uri, collection_of(store)) as collection:
            collection.drop()
        for use in (lambda: check_search(store, queries(1, DIM, 2), 5), lambda: add(store, ONE)):
            with pytest.raises(RunError, match=server.uri):
                use()
        store.rebuild("milvus", {"server": server.uri}, silent)
        assert check_search(store, queries(1, DIM, 2), 5) == 1

    def test_a_collection_that_lacks_rows_is_named(self, server, store):
        with Collection(server.uri, collection_of(store)) as collection:
            collection._client.delete(collection.name, ids=[7])
        for use in (lambda: check_search(store, queries(1, DIM, 2), 5), lambda: add(store, ONE)):
            with pytest.raises(RunError, match="299 of 300 rows"):
                use()


ONE = clustered(1, DIM, 30)


def make_ghosts(store, vectors):
    """Let a writer die when all is at the server and nothing is committed."""

    class DiedError(Exception):
        pass

    class Dying(MilvusBackend):
        @classmethod
        def update(cls, change):
            super().update(change)
            opened.append(change.after)
            raise DiedError

    opened = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(milvus, "MilvusBackend", Dying)
        table = pa.table({"number": range(len(vectors))})
        with pytest.raises(DiedError):
            store.change(add=[Addition(vectors=vectors, table=table)], say=silent)
    return opened[0]


class TestServerThatIsAway:
    @pytest.fixture
    def alone(self, tmp_path):
        one = Server(tmp_path / "data")
        one.start()
        yield one
        one.stop()

    def test_every_use_names_it_and_nothing_changes(self, alone, tmp_path):
        options = {"server": alone.uri}
        store = make_case(tmp_path / "index", Case("", "milvus", options), clustered(300, DIM, 1))
        reader = backend_of(store)
        live = reader.snapshot.live
        reader.search(queries(1, DIM, 2), 5, live)
        before = content(store.snapshot()), store.snapshot().manifest
        alone.stop()
        named = rf"Milvus at {alone.uri}: .*server unavailable"
        with pytest.raises(RunError, match=rf"{named}.*--backend exact` searches without"):
            reader.search(queries(1, DIM, 2), 5, live)
        with pytest.raises(RunError, match=named):
            add(store, ONE)
        with pytest.raises(RunError, match=named):
            store.change(remove=np.arange(290), say=silent)
        with pytest.raises(InputError, match=rf"{named}.*MILVUS_TOKEN"):
            store.rebuild("milvus", options, silent)
        assert (content(store.snapshot()), store.snapshot().manifest) == before
        assert leftovers(store.folder) == ["milvus-collections.json"]

        said = []
        store.rebuild("exact", {}, said.append)  # this needs no server
        assert check_search(store, queries(1, DIM, 2), 5) == 1
        assert "is not dropped before the next change" in said[0]
        alone.start()
        store.change(remove=[0], say=said.append)
        assert len(said) == 1
        assert alone.collections() == []
        assert leftovers(store.folder) == []

    def test_a_rebuild_that_fails_leaves_the_old_backend(self, alone, tmp_path, monkeypatch):
        store = make_case(tmp_path / "index", Case("", "exact"), clustered(300, DIM, 1))

        def write(self, snapshot, first):
            alone.stop()
            real(self, snapshot, first)

        real = Collection.write
        monkeypatch.setattr(Collection, "write", write)
        with pytest.raises(RunError, match=alone.uri):
            store.rebuild("milvus", {"server": alone.uri}, silent)
        assert store.snapshot().manifest.backend.name == "exact"
        assert check_search(store, queries(1, DIM, 2), 5) == 1
        alone.start()
        store.change(remove=[1], say=silent)
        assert alone.collections() == []

    def test_one_that_accepts_and_is_silent(self, tmp_path, monkeypatch):
        monkeypatch.setattr("vlp.retrieval.backends.milvus_collection._CONNECTING", 0.5)
        with socket.socket() as silent_one:
            silent_one.bind(("127.0.0.1", 0))
            silent_one.listen()
            uri = f"http://127.0.0.1:{silent_one.getsockname()[1]}"
            with pytest.raises(InputError, match=uri):
                MilvusBackend.check({"server": uri})

    def test_it_is_told_in_one_line(self, tmp_path):
        store = make_case(tmp_path / "index", Case("", "exact"), clustered(20, DIM, 1))
        code = """
            import sys
            from pathlib import Path
            from vlp.command_line import *
            from vlp.errors import InputError
            from vlp.retrieval.store import Store
            try:
                Store(Path(sys.argv[1])).rebuild("milvus", {"server": "http://127.0.0.1:9"})
            except InputError as error:
                print(error)
        """
        found = python(code, store.folder)
        assert found.startswith("Milvus at http://127.0.0.1:9: ")
        assert found.count("\n") == 1


class TestFolder:
    def test_others_search_and_add_meanwhile(self, in_folder):
        reader = backend_of(in_folder)
        asked = queries(2, DIM, 2)
        before = reader.search(asked, 5, reader.snapshot.live)
        code = """
            import sys
            from pathlib import Path
            from tests.vlp.retrieval.backend_contract import add, check_search, clustered, queries
            from vlp.retrieval.store import Store
            store = Store(Path(sys.argv[1]))
            assert check_search(store, queries(2, 16, 2), 5) == 1
            add(store, clustered(50, 16, 7))
            assert check_search(store, queries(2, 16, 2), 5) == 1
        """
        assert python(code, in_folder.folder) == ""
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
        assert len(os.listdir(temporary)) == 1
        del backend
        assert os.listdir(temporary) == []

    def test_a_change_shares_files_with_the_state_before(self, in_folder):
        def data():
            return [p.stat().st_ino for p in sorted(in_folder.folder.rglob("data_*.parquet"))]

        before = data()
        add(in_folder, ONE)
        assert before[0] in data()
        assert len(data()) == 2

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

    def test_a_proxy_is_not_asked(self, in_folder):
        code = """
            import sys
            from pathlib import Path
            from tests.vlp.retrieval.backend_contract import check_search, queries
            from vlp.retrieval.store import Store
            assert check_search(Store(Path(sys.argv[1])), queries(2, 16, 2), 5) == 1
        """
        assert python(code, in_folder.folder, http_proxy="http://127.0.0.1:9") == ""


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
            ({"nonsense": 1}, "no option nonsense: choices are server, index_type"),
            ({"token": "secret"}, "no option token"),
            ({"index_type": "HNSW"}, "index_type is of servers"),
            ({"server": "http://h", "index_type": "IVF"}, "choices are AUTOINDEX, FLAT, HNSW"),
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

    def test_defaults(self, server):
        assert MilvusBackend.check({}) == {}
        assert MilvusBackend.check({"server": server.uri}) == {
            "server": server.uri,
            "index_type": "AUTOINDEX",
        }

    def test_the_token_is_passed_on_and_not_written(self, server, store, monkeypatch):
        import pymilvus

        tokens = []
        real = pymilvus.MilvusClient
        monkeypatch.setattr(
            pymilvus,
            "MilvusClient",
            lambda *a, **o: (tokens.append(o.get("token")), real(*a, **o))[1],
        )
        monkeypatch.setenv("MILVUS_TOKEN", "root:open-sesame")
        store.rebuild("milvus", {"server": server.uri}, silent)
        assert set(tokens) == {"root:open-sesame"}
        for path in store.folder.rglob("*.json"):
            assert "open-sesame" not in path.read_text()
            json.loads(path.read_text())

    def test_without_the_package(self, monkeypatch):
        from vlp.retrieval.backends.milvus_collection import import_milvus

        import_milvus.cache_clear()
        monkeypatch.setitem(sys.modules, "pymilvus", None)
        with pytest.raises(InputError, match=r"needs pymilvus: pip install 'vlp\[milvus\]'"):
            MilvusBackend.check({})


def python(code, *arguments, **environment):
    """What a process prints that must end by itself and complain of nothing."""
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=Path(__file__).parents[3],
        env={**os.environ, **environment},
    )
    assert (found.returncode, found.stderr) == (0, "")
    return found.stdout
