"""Writers are killed at random moments while another process searches: it sees whole states alone."""

import random
import time

import pytest

from tests.vlp.retrieval.index_states import leftovers
from tests.vlp.retrieval.kills import batches, make_batches, processes, read, write
from tests.vlp.retrieval.test_store_crashes import backend  # noqa: F401
from vlp.retrieval.store import Store

SECONDS = {"exact": 4, "faiss": 4, "milvus": 8}


def test_readers_see_whole_states(backend, tmp_path):  # noqa: F811
    folder, stop, told = tmp_path / "index", tmp_path / "stop", tmp_path / "told"
    make_batches(folder, backend)
    first = Store(folder).snapshot().manifest.generation
    readers = [processes.Process(target=read, args=(folder, stop, told)) for _ in range(2)]
    for reader in readers:
        reader.start()
    end, kills, seed = time.monotonic() + SECONDS[backend], 0, 0
    while time.monotonic() < end:
        writer = processes.Process(target=write, args=(folder, backend, seed))
        writer.start()
        writer.join(random.Random(seed).uniform(0.2, 1.5))
        assert writer.exitcode is None
        writer.kill()
        writer.join()
        kills, seed = kills + 1, seed + 1
    stop.touch()
    for reader in readers:
        reader.join()
        assert reader.exitcode == 0
    store = Store(folder)
    assert int(told.read_text()) > 3
    assert store.snapshot().manifest.generation > first
    store.change(remove=next(iter(batches(store).values())))
    assert leftovers(folder) == []
