"""Servers of Milvus: several indexes, servers that go away, and nothing left behind."""

import shutil
import socket

import numpy as np
import pyarrow as pa
import pytest

from tests.vlp.retrieval.backend_contract import (
    Case,
    add,
    addition,
    check_search,
    clustered,
    queries,
)
from tests.vlp.retrieval.backend_contract import make_store as make_case
from tests.vlp.retrieval.index_states import content, leftovers, silent
from tests.vlp.retrieval.milvus_servers import (
    DIM,
    ONE,
    Server,
    backend_of,
    collection_of,
    rebuild_at,
)
from tests.vlp.retrieval.processes import printed
from vlp.errors import InputError, RunError
from vlp.retrieval.backends import milvus
from vlp.retrieval.backends.milvus import MilvusBackend
from vlp.retrieval.backends.milvus_collection import Collection
from vlp.retrieval.store import Addition, Store

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = Server(tmp_path_factory.mktemp("server") / "data")
    one.start()
    yield one
    one.stop()


@pytest.fixture
def store(server, tmp_path):
    """An index of 300 rows at the server, which is gone from there afterwards."""
    case = Case("", "milvus", {"server": server.uri})
    store = make_case(tmp_path / "index", case, clustered(300, DIM, 1))
    yield store
    store.rebuild("exact", {}, silent)


class TestServer:
    def test_finds_what_is_there(self, store):
        assert check_search(store, queries(4, DIM, 2), 10) >= 0.95
        assert check_search(store, queries(4, DIM, 2), 300) == 1
        add(store, clustered(50, DIM, 3))
        store.change(remove=np.arange(20), say=silent)
        assert check_search(store, queries(4, DIM, 2), 10) >= 0.95
        condition = np.arange(350) % 3 == 0
        assert check_search(store, queries(4, DIM, 2), 10, condition) >= 0.95

    def test_a_ledger_that_somebody_changed(self, store):
        path = store.folder / "milvus-collections.json"
        text = path.read_text()
        path.write_text(text[:20])
        said = []
        store.change(remove=[1], say=said.append)
        assert f"could not be tidied up: {path}" in said[0]
        path.write_text(text)

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
        said = []
        copy.change(add=[addition(clustered(40, DIM, 7))], say=said.append)
        assert f"the collection {collection_of(store)} at {server.uri} stays" in said[0]
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

    def test_defaults(self, server):
        assert MilvusBackend.check({}) == {}
        assert MilvusBackend.check({"server": server.uri}) == {"server": server.uri}

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
        named = rf"^no Milvus server answers at {alone.uri}: start it"
        without = rf"{named}, or search without: `vlp index {store.folder} --backend exact`$"
        with pytest.raises(RunError, match=without):
            reader.search(queries(1, DIM, 2), 5, live)
        with pytest.raises(RunError, match=named):
            add(store, ONE)
        with pytest.raises(RunError, match=named):
            store.change(remove=np.arange(290), say=silent)
        with pytest.raises(InputError, match=rf"{named}, or give none: "):
            store.rebuild("milvus", options, silent)
        assert (content(store.snapshot()), store.snapshot().manifest) == before
        assert leftovers(store.folder) == ["milvus-collections.json"]

        said = []
        store.rebuild("exact", {}, said.append)  # this needs no server
        assert check_search(store, queries(1, DIM, 2), 5) == 1
        assert "could not be dropped" in said[0]
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
        server = "http://127.0.0.1:9"
        found = printed(tmp_path / "printed", rebuild_at, server, store.folder)
        assert found.startswith(f"no Milvus server answers at {server}: start it")
        assert found.count("\n") == 1
