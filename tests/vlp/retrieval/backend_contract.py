"""What every backend must do, told by brute force in float32; `test_backends.py` asks each."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from vlp.retrieval.backends import backend_class
from vlp.retrieval.store import Addition, Store

# what the same inner product in float32 may differ by when it is added up in another order
CLOSE = 1e-5


@dataclass(frozen=True)
class Case:
    """A backend with options, under test.

    Args:
        label: of the test.
        backend: its name.
        options: as a user gives them.
        recall: that it must reach on clustered vectors; 1 for what is exact.
        examples: of sequences of changes that are tried.
    """

    label: str
    backend: str
    options: dict[str, Any] = field(default_factory=dict)
    recall: float = 1.0
    examples: int = 12


CASES = (
    Case("exact", "exact"),
    Case("faiss-by-size", "faiss"),
    Case("faiss-ivf", "faiss", {"factory": "IVF8,SQ8", "recall": 0.99}, 0.95),
    Case("faiss-hnsw", "faiss", {"factory": "HNSW16,SQfp16", "recall": 0.99}, 0.95),
    Case("milvus", "milvus", {}, 0.95, examples=5),
)
_PACKAGES = {"faiss": "faiss", "milvus": "pymilvus"}


def cases() -> list[Any]:
    """Parameters of a test; a backend that cannot be had here is skipped."""
    return [pytest.param(case, id=case.label, marks=_skips(case.backend)) for case in CASES]


def _skips(backend: str) -> list[Any]:
    package = _PACKAGES.get(backend)
    if package and find_spec(package) is None:
        return [pytest.mark.skip(reason=f"{package} is not installed")]
    return []


def clustered(rows: int, dim: int, seed: int, clusters: int = 20) -> np.ndarray:
    """Unit vectors [n, D] in float16 around a few directions, as features of pictures are."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((clusters, dim))
    vectors = centres[rng.integers(0, clusters, rows)] + 0.7 * rng.standard_normal((rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def queries(number: int, dim: int, seed: int) -> np.ndarray:
    """Unit vectors [q, D] in float32 near the same directions, none of them in the index."""
    vectors = clustered(number, dim, seed + 1_000_000).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def add(store: Store, vectors: np.ndarray) -> np.ndarray:
    """Add rows; returns their ids."""
    return store.change(add=[addition(vectors)], say=silent)


def addition(vectors: np.ndarray) -> Addition:
    """Rows to add, with a number each."""
    return Addition(vectors=vectors, table=pa.table({"number": np.arange(len(vectors))}))


def silent(_line: str) -> None:
    """A `say` that says nothing."""


def make_store(folder: Path, case: Case, vectors: np.ndarray) -> Store:
    """An index of these rows with the case's backend."""
    store = Store.create(
        folder, dim=vectors.shape[1], modality="image", model=None, background=None
    )
    if len(vectors):
        add(store, vectors)
    store.rebuild(case.backend, case.options, silent)
    return store


def check_search(
    store: Store, asked: np.ndarray, k: int, condition: np.ndarray | None = None
) -> float:
    """Search and assert what holds for every backend; returns the recall against brute force.

    Args:
        store: the index.
        asked: queries [q, D].
        k: how many.
        condition: [n] rows that a condition allows; all by default.
    """
    snapshot = store.snapshot()
    allowed = snapshot.live if condition is None else snapshot.live & condition
    before = allowed.copy()
    mark = snapshot.manifest.backend
    backend = backend_class(mark.name)(snapshot, mark.options, mark.state)
    try:
        scores, rows = backend.search(asked, k, allowed)
    finally:
        backend.close()
    assert np.array_equal(allowed, before), "the mask was changed"
    vectors = np.concatenate(
        [np.empty((0, snapshot.dim), np.float16), *(block for _, block in snapshot.blocks())]
    ).astype(np.float32)
    return check_found(vectors @ asked.T, allowed, k, scores, rows)


def check_found(
    products: np.ndarray, allowed: np.ndarray, k: int, scores: np.ndarray, rows: np.ndarray
) -> float:
    """`check_search` for a result: `products` are the true inner products [n, q]."""
    asked = products.shape[1]
    assert scores.shape == rows.shape == (asked, k)
    assert scores.dtype == np.float32
    assert rows.dtype == np.int64
    count = min(k, int(allowed.sum()))
    right = 0
    for number in range(asked):
        own, found = products[:, number], rows[number, :count]
        assert (found >= 0).all(), "fewer rows than there are"
        assert (rows[number, count:] == -1).all()
        assert np.isneginf(scores[number, count:]).all()
        assert allowed[found].all(), "a row that is not allowed"
        assert len(set(found.tolist())) == count, "a row twice"
        np.testing.assert_allclose(scores[number, :count], own[found], atol=CLOSE)
        order = np.lexsort((found, -scores[number, :count]))
        assert np.array_equal(order, np.arange(count)), "not the best first, or ties not by row"
        if count:
            bar = np.sort(own[allowed])[-count]
            right += int((own[found] >= bar - CLOSE).sum())
    return right / (asked * count) if asked * count else 1.0


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 60)),
        st.tuples(st.just("remove"), st.integers(1, 100)),
        st.tuples(st.just("rebuild"), st.just(0)),
        st.tuples(st.just("change"), st.integers(1, 60)),
    ),
    min_size=1,
    max_size=6,
)


def apply_change(store: Store, case: Case, change: tuple[str, int], seed: int) -> None:
    """One of `CHANGES`."""
    kind, size = change
    snapshot = store.snapshot()
    chosen = np.random.default_rng(seed).permutation(snapshot.ids[snapshot.live])[:size]
    if kind == "add":
        add(store, clustered(size, snapshot.dim, seed))
    elif kind == "remove":
        store.change(remove=chosen, say=silent)
    elif kind == "rebuild":
        store.rebuild(case.backend, case.options, silent)
    else:  # both at once, as a refresh does
        new = addition(clustered(size, snapshot.dim, seed))
        store.change(add=[new], remove=chosen, say=silent)
