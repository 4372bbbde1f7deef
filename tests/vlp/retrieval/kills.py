"""A writer and a reader of one index, which are processes that run until they are ended."""

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from tests.vlp.retrieval.crashes import OPTIONS
from tests.vlp.retrieval.index_states import DIM, make_store, silent, unit_vectors
from vlp.retrieval.query import Query
from vlp.retrieval.retriever import Retriever
from vlp.retrieval.store import Addition, Store

BATCH = 10  # rows that come and go together


def make_batches(folder: Path, backend: str) -> Store:
    """An index of a few batches."""
    store = make_store(folder)
    for number in range(4):
        _change(store, number, [])
    store.rebuild(backend, OPTIONS[backend], silent)
    return store


def batches(store: Store) -> dict[int, list[int]]:
    """{batch: its ids}; all are whole."""
    snapshot = store.snapshot()
    table = snapshot.table(np.flatnonzero(snapshot.live), ["id", "batch"])
    found: dict[int, list[int]] = {}
    for row in table.to_pylist():
        found.setdefault(row["batch"], []).append(row["id"])
    assert all(len(ids) == BATCH for ids in found.values()), {b: len(i) for b, i in found.items()}
    assert all(ids == list(range(b * BATCH, (b + 1) * BATCH)) for b, ids in found.items())
    return found


def write(folder: Path, backend: str, seed: int) -> None:
    """Add and remove batches, and build the backend afresh, without end."""
    tqdm.set_lock(threading.RLock())
    store, rng = Store(folder), np.random.default_rng(seed)
    while True:
        there = batches(store)
        number = store.snapshot().manifest.next_id // BATCH
        turn = rng.random()
        gone = [there[rng.choice(list(there))]] if len(there) > 6 or turn < 0.2 else []
        if turn > 0.85:
            store.rebuild(backend, OPTIONS[backend], silent)
        else:
            _change(store, number, [own for ids in gone for own in ids], add=turn > 0.1)


def read(folder: Path, stop: Path, told: Path) -> None:
    """Search until a file appears, and write down how often; raise for what is not whole."""
    retriever, rng, searches = Retriever.load(folder), np.random.default_rng(0), 0
    while not stop.exists():
        batches(retriever.store)
        query = unit_vectors(1, int(rng.integers(1 << 30)))[0].astype(np.float32)
        hits = retriever.search(Query(vectors=[query], k=200)).hits
        found = sorted(hit.metadata["batch"] for hit in hits)
        assert len(found) % BATCH == 0
        assert len(set(found)) * BATCH == len(found), found
        assert [hit.cosine for hit in hits] == sorted((h.cosine for h in hits), reverse=True)
        searches += 1
        told.write_text(str(searches))


def _change(store: Store, number: int, gone: list[int], *, add: bool = True) -> None:
    new = Addition(
        vectors=unit_vectors(BATCH, number, DIM), table=pa.table({"batch": [number] * BATCH})
    )
    store.change(add=[new] if add else [], remove=gone, say=silent)
