"""The index changes while it is served, also by writers that are killed."""

import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
from PIL import Image

from tests.vlp.serve.serving import client_of, make_index
from vlp.retrieval.retriever import Retriever
from vlp.retrieval.store import Addition, Store

KILLED = 3
WRITERS = """
import os, random, signal, sys, time
import numpy as np, pyarrow as pa
from pathlib import Path
from vlp.retrieval.store import Addition, Store

def write(store, rng):
    vectors = rng.standard_normal((10, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = pa.table({"n": list(range(10))})
    added = store.change(add=[Addition(vectors=vectors.astype(np.float16), table=table)])
    store.change(remove=added[:3])

store = Store(Path(sys.argv[1]))
write(store, np.random.default_rng())  # imports what children need
for _ in range(int(sys.argv[2])):
    child = os.fork()
    while not child:
        write(store, np.random.default_rng())
    time.sleep(random.uniform(0.2, 0.6))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


def found(client, **query):
    answer = client.post("/api/search", json=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_changes_are_seen_at_once(tmp_path, checkpoint):
    retriever = make_index(tmp_path, checkpoint)
    writer = Retriever.load(tmp_path / "colours")
    with client_of({"colours": retriever}) as client:
        assert found(client, texts=["dogs"])["searched"] == 6
        (new,) = writer.add(
            [Image.new("RGB", (24, 24), "purple")], [{"caption": "purple"}]
        ).tolist()
        assert found(client, like=[new])["searched"] == 7
        writer.remove([0])
        assert found(client, texts=["dogs"])["searched"] == 6
        assert client.post("/api/search", json={"like": [0]}).status_code == 404
        assert client.get("/api/picture/colours/0").status_code == 404
        assert client.get(f"/api/picture/colours/{new}").status_code == 404  # it has no file
        (index,) = client.get("/api/about").json()["indices"]
        captions = next(c["values"] for c in index["columns"] if c["name"] == "caption")
        assert ("red" in captions, "purple" in captions) == (False, True)


def test_an_index_that_is_gone_is_named(tmp_path, checkpoint):
    retriever = make_index(tmp_path, checkpoint)
    with client_of({"colours": retriever}) as client:
        shutil.move(tmp_path / "colours", tmp_path / "elsewhere")
        for answer in (
            client.post("/api/search", json={"texts": ["dogs"]}),
            client.post("/knn-service", json={"text": "dogs"}),
            client.get("/api/about"),
            client.get("/api/picture/colours/0"),
        ):
            assert answer.status_code == 503
            assert "the index 'colours' cannot be read" in answer.json()["error"]
        shutil.move(tmp_path / "elsewhere", tmp_path / "colours")
        assert found(client, texts=["dogs"])["searched"] == 6


def test_the_server_survives_the_death_of_writers(tmp_path):
    store = Store.create(tmp_path / "index", dim=8, modality="image", model=None, background=None)
    store.change(
        add=[Addition(vectors=np.eye(8, dtype=np.float16), table=pa.table({"n": list(range(8))}))]
    )
    command = [sys.executable, "-c", WRITERS, store.folder, str(KILLED)]
    with (
        client_of({"index": Retriever(store)}) as client,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writers,
    ):
        seen = []
        while writers.poll() is None:
            answer = found(client, like=[0], k=1000)
            assert answer["hits"][0]["id"] == 0
            assert answer["searched"] == len(answer["hits"])
            seen.append(answer["searched"])
            # ten at a time come, and then three of them go
            parts = Counter((hit["id"] - 8) // 10 for hit in answer["hits"] if hit["id"] >= 8)
            assert set(parts.values()) <= {10, 7}
            time.sleep(0.03)
        assert writers.stdout.read() == "killed\n" * KILLED
        assert client.get("/").status_code == 200
    assert seen[-1] > seen[0] == 8
    assert len(store.change(add=[])) == 0  # and the next writer goes on


def test_many_ask_while_it_changes(tmp_path, checkpoint):
    retriever = make_index(tmp_path, checkpoint)
    writer = Retriever.load(tmp_path / "colours", checkpoint)
    with client_of({"colours": retriever}) as client, ThreadPoolExecutor(8) as threads:

        def ask(number):
            if number % 3:
                return client.post("/api/search", json={"texts": ["dogs"], "k": 3})
            return client.get(f"/api/picture/colours/{number % 6}")

        answers = threads.map(ask, range(60))
        for _ in range(5):
            added = writer.add([Image.new("RGB", (24, 24))])
            writer.remove(added)
        assert [answer.status_code for answer in answers] == [200] * 60
