"""Servers of Milvus for tests, and processes that use what the tests use."""

import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from tests.vlp.retrieval.backend_contract import clustered
from vlp.errors import RunError
from vlp.retrieval.backends.milvus import MilvusBackend
from vlp.retrieval.backends.milvus_collection import Collection

DIM = 16
ONE = clustered(1, DIM, 30)
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


def backend_of(store):
    snapshot = store.snapshot()
    mark = snapshot.manifest.backend
    return MilvusBackend(snapshot, mark.options, mark.state)


def collection_of(store):
    return store.snapshot().manifest.backend.state["collection"]


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
