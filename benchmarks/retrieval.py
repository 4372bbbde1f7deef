"""Search in a million vectors: exact, by faiss, and by clip-retrieval's way, side by side.

    python benchmarks/retrieval.py [--rows 1000000] [--dim 512] [--queries 100]
                                   [--vectors clip|uniform] [--peer true]

Everything goes through the index on disk as a search does, one query at a time, none of them in the
index: half are pictures, half captions, which lie off the cloud of pictures.

    exact   every row, memory-mapped; beside it numpy, which widens each block to float32, and
            faiss' own Flat index of float32
    faiss   the index that is chosen for the number of rows, in turns with exact
    adding  10,000 rows to it, beside building it anew; and the change that continues its file

`--peer` adds autofaiss, which `clip-retrieval index` calls. It cannot add, and takes as long again
at each change; building takes it long (HNSW, half an hour or more at a million on two cores).

The vectors are made (`searching/features.py`): by default they lie as those of CLIP do, with
`uniform` there is nothing near. Peak memory is that of a process that only opens and searches,
mapped pages counted; that of autofaiss has built, too. Threads are what OMP_NUM_THREADS says, for
all, but one query of the backend faiss takes one.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from jsonargparse import auto_cli

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.searching.features import Uniform, Vectors, World
from benchmarks.searching.peer import run_peer
from vlp.retrieval.backends import backend_class
from vlp.retrieval.backends.exact import ExactBackend
from vlp.retrieval.background import Background
from vlp.retrieval.store import Addition, Store

_STEP = 100_000  # rows that are made at a time
_ADDED, _CONTINUED = 10_000, 25_000
_K = 10


def main(
    rows: int = 1_000_000,
    dim: int = 512,
    queries: int = 100,
    vectors: Literal["clip", "uniform"] = "clip",
    peer: bool = False,
) -> None:
    """Measure and print.

    Args:
        rows: of the index.
        dim: of a vector.
        queries: of each kind, pictures and captions.
        vectors: how they lie.
        peer: whether autofaiss builds an index too.
    """
    import faiss

    print(
        f"{rows:,} x {dim} like {vectors}, {os.cpu_count()} cores, {torch.get_num_threads()} "
        f"threads, torch {torch.__version__}, faiss {faiss.__version__}, load {os.getloadavg()[0]}"
    )
    world = World(dim) if vectors == "clip" else Uniform(dim)
    pictures, texts = world.pairs(queries, seed=1)
    asked = np.concatenate([texts, pictures])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "queries.npy", asked)
        store = make_index(folder / "index", world, rows)
        truth = compare_exact(store, asked, folder)
        if peer:
            show_peer(store, asked, truth, folder)
        built = compare_faiss(store, asked, truth, folder)
        compare_adding(store, world, built)


def make_index(folder: Path, world: World | Uniform, rows: int) -> Store:
    """An index with exact search."""
    background = Background(world.pairs(1000, seed=2)[1])
    store = Store.create(folder, dim=world.dim, modality="image", model=None, background=background)
    for start in range(0, rows, _STEP):
        add(store, world.pairs(min(_STEP, rows - start), seed=3 + start)[0])
    return store


def add(store: Store, vectors: Vectors) -> float:
    """Add rows; returns the seconds."""
    table = pa.table({"image_path": [f"/data/{number:09d}.jpg" for number in range(len(vectors))]})
    addition = Addition(vectors=vectors.astype(np.float16), table=table)
    begin = time.perf_counter()
    store.change(add=[addition], say=lambda line: print(f"    {line}"))
    return time.perf_counter() - begin


def compare_exact(store: Store, asked: Vectors, folder: Path) -> list[set[int]]:
    """Exact search beside numpy and faiss' Flat; returns the rows that are nearest."""
    import faiss

    snapshot = store.snapshot()
    show_fresh("exact", store, folder)
    backend = ExactBackend(snapshot, {}, {})
    flat = faiss.IndexFlatIP(snapshot.dim)
    for _, block in snapshot.blocks():
        flat.add(block.astype(np.float32))

    def by_numpy(query: Vectors) -> None:
        scores = [block.astype(np.float32) @ query for _, block in snapshot.blocks()]
        np.argpartition(-np.concatenate(scores), _K)[:_K]

    some = asked[:: max(1, len(asked) // 10)]
    take_turns(
        {
            "exact": lambda query: backend.search(query[None], _K, snapshot.live),
            "numpy, blocks to float32": by_numpy,
            "faiss Flat, twice the memory": lambda query: flat.search(query[None], _K),
        },
        some,
    )
    return [set(flat.search(query[None], _K)[1][0].tolist()) for query in asked]


def compare_faiss(store: Store, asked: Vectors, truth: list[set[int]], folder: Path) -> float:
    """faiss in turns with exact, its recall; returns the seconds of the build."""
    begin = time.perf_counter()
    store.rebuild("faiss", {}, lambda line: print(f"    {line}"))
    built = time.perf_counter() - begin
    show_fresh("faiss", store, folder)
    snapshot = store.snapshot()
    mark = snapshot.manifest.backend
    backend = backend_class("faiss")(snapshot, mark.options, mark.state)
    exact = ExactBackend(snapshot, {}, {})
    found = [backend.search(query[None], _K, snapshot.live)[1][0] for query in asked]
    show_recall(found, truth)
    take_turns(
        {
            "faiss": lambda query: backend.search(query[None], _K, snapshot.live),
            "exact": lambda query: exact.search(query[None], _K, snapshot.live),
        },
        asked,
    )
    size = mark.state.get("bytes", 0) / 1e6
    print(f"    built in {built:.1f} s, {size:,.0f} MB beside the vectors")
    return built


def compare_adding(store: Store, world: World | Uniform, built: float) -> None:
    """Adding to the index of faiss beside building it anew."""
    print("adding")
    for number in (_ADDED, _CONTINUED):
        seconds = add(store, world.pairs(number, seed=-number % 2**32)[0])
        print(f"    {number:,} rows {seconds:.2f} s, {seconds / built:.2%} of the build")


def show_peer(store: Store, asked: Vectors, truth: list[set[int]], folder: Path) -> None:
    """autofaiss on the same vectors."""
    embeddings = folder / "embeddings"
    embeddings.mkdir()
    for first, block in store.snapshot().blocks():
        np.save(embeddings / f"img_emb_{first:012d}.npy", block)
    told = run_peer(embeddings, folder / "queries.npy", folder / "found.npy")
    print(
        f"clip-retrieval's way: autofaiss {told['factory']}, {told['parameters']}, built in "
        f"{told['build']:.1f} s; {1e3 * told['seconds']:.2f} ms a query; "
        f"peak memory {told['memory'] / 1e9:.2f} GB, building included; "
        f"{told['bytes'] / 1e6:,.0f} MB"
    )
    show_recall(list(np.load(folder / "found.npy")), truth)


def show_fresh(name: str, store: Store, folder: Path) -> None:
    """Time and memory of a process that only searches."""
    script = Path(__file__).parent / "searching" / "fresh.py"
    command = [sys.executable, str(script), str(store.folder), str(folder / "queries.npy")]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    told: dict[str, Any] = json.loads(printed)
    print(
        f"{name}: opened in {1e3 * told['open']:.0f} ms, first query {1e3 * told['first']:.1f} ms, "
        f"median {1e3 * told['seconds']:.2f} ms, peak memory {told['memory'] / 1e9:.2f} GB"
    )


def show_recall(found: list[Any], truth: list[set[int]]) -> None:
    """Recall@10 of captions, the first half, and of pictures."""
    shares = [len(near & set(rows.tolist())) / _K for near, rows in zip(truth, found, strict=True)]
    texts, pictures = np.mean(np.reshape(shares, (2, -1)), axis=1)
    print(f"    recall@{_K} {texts:.3f} captions, {pictures:.3f} pictures")


def take_turns(ways: dict[str, Callable[[Vectors], object]], asked: Vectors) -> None:
    """Time the ways on each query in turn; print medians and ratios to the first."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for query in asked:
        for name, way in ways.items():
            begin = time.perf_counter()
            way(query)
            seconds[name].append(time.perf_counter() - begin)
    first = next(iter(ways))
    for name, taken in seconds.items():
        ratio = np.array(taken) / np.array(seconds[first])
        low, middle, high = np.percentile(ratio, [10, 50, 90])
        beside = f"  {middle:.1f} times as long as {first} ({low:.1f} to {high:.1f})"
        line = f"    {name:<28} {1e3 * np.median(taken):8.2f} ms a query"
        print(line + ("" if name == first else beside))


if __name__ == "__main__":
    auto_cli(main)
