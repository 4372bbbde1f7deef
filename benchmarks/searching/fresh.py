"""One index searched by a process of its own; prints JSON: seconds and peak memory.

python fresh.py INDEX QUERIES.npy
"""

import json
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from vlp.retrieval.backends import backend_class
from vlp.retrieval.snapshot import open_snapshot


def main(folder: Path, queries: Path) -> None:
    """Open, search one query at a time, print."""
    asked = np.load(queries)
    begin = time.perf_counter()
    snapshot = open_snapshot(folder)
    mark = snapshot.manifest.backend
    backend = backend_class(mark.name)(snapshot, mark.options, mark.state)
    opened = time.perf_counter() - begin
    seconds = []
    for query in asked:
        begin = time.perf_counter()
        backend.search(query[None], 10, snapshot.live)
        seconds.append(time.perf_counter() - begin)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        json.dumps(
            {
                "open": opened,
                "first": seconds[0],
                "seconds": float(np.median(seconds)),
                "memory": memory,
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
