"""Servers of Milvus for tests, and what other processes do with an index of Milvus."""

import os
import socket
import time

from tests.vlp.retrieval.backend_contract import add, check_search, clustered, queries
from tests.vlp.retrieval.processes import processes
from vlp.errors import InputError, RunError
from vlp.retrieval.backends.milvus import MilvusBackend
from vlp.retrieval.backends.milvus_collection import Collection
from vlp.retrieval.store import Store

DIM = 16
ONE = clustered(1, DIM, 30)


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
        self.process = processes.Process(target=_serve, args=(str(self.folder), self.port))
        self.process.start()
        while True:
            assert self.process.exitcode is None
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                self.collections()
                return
            except (OSError, RunError):
                time.sleep(0.02)

    def stop(self):
        self.process.kill()
        self.process.join()

    def collections(self):
        with Collection(self.uri) as connection:
            return sorted(connection._client.list_collections())


def backend_of(store):
    snapshot = store.snapshot()
    mark = snapshot.manifest.backend
    return MilvusBackend(snapshot, mark.options, mark.state)


def collection_of(store):
    return store.snapshot().manifest.backend.state["collection"]


def add_and_search(folder):
    """With a proxy set, which must not be asked: all is on this machine."""
    os.environ["http_proxy"] = "http://127.0.0.1:9"
    store = Store(folder)
    assert check_search(store, queries(2, DIM, 2), 5) == 1
    add(store, clustered(50, DIM, 7))
    assert check_search(store, queries(2, DIM, 2), 5) == 1


def rebuild_at(server, folder):
    """Print the error."""
    try:
        Store(folder).rebuild("milvus", {"server": server})
    except InputError as error:
        print(error)


def _serve(folder, port):
    from milvus_lite.adapter.grpc.server import run_server

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    run_server(folder, "127.0.0.1", port)
