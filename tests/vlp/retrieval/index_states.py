"""What an index holds, read back in full, and what its folder may hold."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from vlp.retrieval.background import Background
from vlp.retrieval.snapshot import Snapshot
from vlp.retrieval.store import Addition, Store

DIM = 8
Content = dict[int, tuple[dict, bytes]]


def unit_vectors(rows: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    """[n, D] float16."""
    vectors = np.random.default_rng(seed).standard_normal((rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def addition(rows: int, seed: int = 0) -> Addition:
    """Rows with a number each."""
    return Addition(
        vectors=unit_vectors(rows, seed), table=pa.table({"number": np.arange(rows) + 1000 * seed})
    )


def make_store(folder: Path, rows: int = 0) -> Store:
    """An index with a background, and rows if any are asked for."""
    background = Background(unit_vectors(20, 99).astype(np.float32))
    store = Store.create(folder, dim=DIM, modality="image", model=None, background=background)
    if rows:
        store.change(add=[addition(rows)], say=silent)
    return store


def silent(_line: str) -> None:
    """A `say` that says nothing."""


def content(snapshot: Snapshot) -> Content:
    """{id: (metadata that are not null, bytes of the vector)} of all live rows."""
    rows = np.flatnonzero(snapshot.live)
    vectors = snapshot.vectors(rows).astype(np.float16)
    found = {}
    for entry, vector in zip(snapshot.table(rows).to_pylist(), vectors, strict=True):
        own = entry.pop("id")
        known = {name: value for name, value in entry.items() if value is not None}
        found[own] = (known, vector.tobytes())
    return found


def leftovers(folder: Path) -> list[str]:
    """Files and folders that no index needs."""
    manifest = Store(folder).snapshot().manifest
    needed = {"index.json", ".lock", "segments", str(manifest.background), str(manifest.removed)}
    needed |= {str(manifest.aside), *manifest.backend.state.get("files", ())}
    names = {segment.name for segment in manifest.segments}
    below = folder / "segments"
    inner = [path.name for path in below.iterdir()] if below.exists() else []
    return [
        *(path.name for path in folder.iterdir() if path.name not in needed),
        *(name for name in inner if name.split(".")[0] not in names),
    ]
