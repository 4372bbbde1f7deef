"""One index searched by a process of its own; prints JSON: seconds and peak memory.

python fresh.py INDEX QUERIES.npy
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from benchmarks.searching.peer import peak_memory
from vlp.retrieval.backends import backend_class
from vlp.retrieval.manifest import read_manifest
from vlp.retrieval.snapshot import open_snapshot


def main(folder: Path, queries: Path) -> None:
    """Open, search one query at a time, print."""
    asked = np.load(queries)
    kind = backend_class(read_manifest(folder).backend.name)  # what it imports is not opening
    begin = time.perf_counter()
    snapshot = open_snapshot(folder)
    mark = snapshot.manifest.backend
    backend = kind(snapshot, mark.options, mark.state)
    opened = time.perf_counter() - begin
    seconds = []
    for query in asked:
        begin = time.perf_counter()
        backend.search(query[None], 10, snapshot.live)
        seconds.append(time.perf_counter() - begin)
    print(
        json.dumps(
            {
                "open": opened,
                "first": seconds[0],
                "seconds": float(np.median(seconds)),
                "memory": peak_memory(),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
