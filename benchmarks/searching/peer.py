"""clip-retrieval's way to an index: autofaiss, in an environment of its own.

    python peer.py EMBEDDINGS QUERIES.npy FOUND.npy

As `clip-retrieval index` calls it, with its limits of memory. Run by that environment's interpreter
it prints JSON: factory, seconds of the build and of a query, peak memory of both; rows go to
FOUND.npy.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

VERSION = "2.18.0"
# its reader of embeddings wants numpy 1, which newer ones of the others do not
_PACKAGES = (f"autofaiss=={VERSION}", "numpy<2", "pyarrow<21", "pandas<3")


def peer_python() -> Path:
    """The interpreter of the environment, which is made where there is none."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache) / "vlp-benchmarks" / f"autofaiss-{VERSION}"
    python, mark = folder / "bin" / "python", folder / "made"
    if not mark.is_file():
        print(f"making {folder}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--quiet"]
        subprocess.run([*install, *_PACKAGES], check=True)
        mark.touch()
    return python


def run_peer(embeddings: Path, queries: Path, found: Path) -> dict[str, Any]:
    """What `main` prints, from the peer's own process."""
    command = [str(peer_python()), __file__, str(embeddings), str(queries), str(found)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    told: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return told


def peak_memory() -> int:
    """Bytes that this process held at most, of mapped files what it touched.

    `getrusage` would count what the process that started it held, too.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found is not None
    return 1024 * int(found[1])


def main(embeddings: str, queries: str, found: str) -> None:
    """Build, search one query at a time, print."""
    import faiss
    import numpy as np
    from autofaiss import build_index  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/image.index"
        begin = time.perf_counter()
        build_index(
            embeddings=embeddings,
            index_path=path,
            index_infos_path=f"{folder}/image.json",
            metric_type="ip",
            max_index_memory_usage="4G",
            current_memory_available="16G",
            nb_cores=None,
            verbose=30,
        )
        built = time.perf_counter() - begin
        infos = json.loads(Path(f"{folder}/image.json").read_text())
        size = os.path.getsize(path)
        index = faiss.read_index(path)
    seconds, rows = [], []
    for query in np.load(queries):
        begin = time.perf_counter()
        rows.append(index.search(query[None], 10)[1][0])
        seconds.append(time.perf_counter() - begin)
    np.save(found, np.stack(rows))
    print(
        json.dumps(
            {
                "factory": infos.get("index_key"),
                "parameters": infos.get("index_param"),
                "build": built,
                "seconds": float(np.median(seconds)),
                "memory": peak_memory(),
                "bytes": size,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:4])
