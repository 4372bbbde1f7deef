"""Writers are killed at random while another process searches: it sees whole states alone."""

import random
import time

from tests.vlp.retrieval.index_states import leftovers
from tests.vlp.retrieval.kills import batches, make_batches, read, write
from tests.vlp.retrieval.processes import processes

CHANGES, SEARCHES, KILLS = 5, 8, 5  # that must have been before it is over
LONGEST = 100.0  # seconds


def test_readers_see_whole_states(backend, tmp_path):
    folder, stop, told = tmp_path / "index", tmp_path / "stop", tmp_path / "told"
    store = make_batches(folder, backend)
    first = store.snapshot().manifest.generation
    told.write_text("0")
    reader = processes.Process(target=read, args=(folder, stop, told))
    reader.start()
    begun, kills = time.monotonic(), 0
    while not (
        kills >= KILLS
        and int(told.read_text() or 0) >= SEARCHES
        and store.snapshot().manifest.generation >= first + CHANGES
    ):
        assert time.monotonic() < begun + LONGEST
        assert reader.exitcode is None
        writer = processes.Process(target=write, args=(folder, backend, kills))
        writer.start()
        writer.join(random.Random(kills).uniform(0.1, 0.8))
        assert writer.exitcode is None
        writer.kill()
        writer.join()
        kills += 1
    stop.touch()
    reader.join()
    assert reader.exitcode == 0
    store.change(remove=next(iter(batches(store).values())))
    assert leftovers(folder) == []
