"""Indexes of faiss: which one for how many rows, training, filling, files, candidates."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlp.data.files import replace_atomically
from vlp.errors import InputError, RunError
from vlp.progress import bar
from vlp.retrieval.backends.base import Scores
from vlp.retrieval.snapshot import Mask, Rows, Snapshot

FEW = 20_000  # rows up to which looking at all of them takes under a millisecond
_MANY = 200_000  # rows from which codes of a quarter byte per number are worth their training
_CELLS = 8192  # at most: finding the nearest of more takes too long itself
_PER_CELL = 39  # rows that faiss wants for each cell that it trains
_TRAINED_PER_CELL = 64  # rows that it gets where there are more
_TRAINED_CODES = 65_536  # rows from which the codes of graphs are trained
_USUAL_DIM = 512
_ROUNDS = 10  # of k-means


@dataclass(frozen=True)
class Setting:
    """How hard to look.

    Args:
        effort: cells that are looked at (nprobe), or the breadth of the walk (efSearch).
        candidates: rows whose true cosine is computed.
    """

    effort: int
    candidates: int


def import_faiss() -> Any:  # noqa: ANN401 (it has no types)
    """The package.

    Raises:
        InputError: it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise InputError("the backend faiss needs the package: pip install 'vlp[faiss]'") from None
    return faiss


def choose_factory(rows: int, dim: int) -> str | None:
    """What suits so many rows, in the language of faiss' `index_factory`; None: look at all.

    4 sqrt(n) cells, as faiss' guidelines have it, where there are rows to train them. From 200,000
    rows on with product codes of 2 bits per number, whose distances are looked up in registers
    (fast scan); they are coarse, but candidates are scored anew by the stored vectors. Below that
    with 8 bits per number, which need less training.
    """
    if rows < FEW:
        return None
    cells = min(round(4 * sqrt(rows)), rows // _PER_CELL, _CELLS)
    fast = rows >= _MANY and dim % 2 == 0
    return f"IVF{cells},PQ{dim // 2}x4fs" if fast else f"IVF{cells},SQ8"


class FaissIndex:
    """An index of faiss whose n-th vector is row n of a snapshot.

    Args:
        index: as faiss has it.

    Raises:
        InputError: it has neither cells nor a graph.
    """

    def __init__(self, index: Any) -> None:  # noqa: ANN401
        faiss = import_faiss()
        self.index = index
        inner = faiss.downcast_index(index)
        self._is_rotated = isinstance(inner, faiss.IndexPreTransform)
        if self._is_rotated:
            inner = faiss.downcast_index(inner.index)
        self.has_cells = isinstance(inner, faiss.IndexIVF)
        if not self.has_cells and not isinstance(inner, faiss.IndexHNSW):
            raise InputError(
                "factory: only IVF... and HNSW..., with a transform before them or not, can be "
                "tuned; vectors are rescored by themselves, and the backend exact looks at all"
            )
        if self.has_cells and inner.nlist < 1:
            raise InputError("factory: IVF0 has no cells")
        self._inner = inner

    @classmethod
    def make(cls, factory: str, dim: int) -> "FaissIndex":
        """An empty one.

        Raises:
            InputError: faiss does not know the factory, or it does not fit the length of vectors.
        """
        faiss = import_faiss()
        try:
            index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
        except RuntimeError as error:
            raise InputError(
                f"factory {factory!r} cannot be had for vectors of {dim} numbers: {_reason(error)}"
            ) from None
        made = cls(index)
        if made.has_cells:
            made._inner.cp.niter = _ROUNDS
        return made

    @classmethod
    def check(cls, factory: str) -> None:
        """See whether a factory can be had at all, before the length of vectors is known.

        Raises:
            InputError: of no vectors.
        """
        faiss = import_faiss()
        try:
            cls(faiss.index_factory(_USUAL_DIM, factory, faiss.METRIC_INNER_PRODUCT))
        except RuntimeError as error:
            if "dimension" not in str(error):  # of the vector: another may fit
                raise InputError(f"factory {factory!r}: {_reason(error)}") from None

    @classmethod
    def read(cls, path: Path, *, mapped: bool) -> "FaissIndex":
        """One from its file.

        Args:
            path: of the file.
            mapped: leave codes on the disk where their kind permits that; it is read-only then.

        Raises:
            InputError: the file is damaged.
            FileNotFoundError: it is gone.
        """
        faiss = import_faiss()
        path.stat()  # its own error names the file
        flags = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY if mapped else 0
        try:
            found = cls(faiss.read_index(str(path), flags))
        except RuntimeError as error:
            path.stat()  # or it went meanwhile, after a change by someone else
            raise InputError(
                f"{path} is damaged, build the backend again: {_reason(error)}"
            ) from None
        lists = faiss.downcast_InvertedLists(found._inner.invlists) if found.has_cells else None
        if isinstance(lists, faiss.OnDiskInvertedLists):
            lists.prefetch_nthread = 0  # starting its 32 threads takes longer than a search
        return found

    def write(self, path: Path) -> None:
        """Write the file.

        Raises:
            RunError: the disk is full.
        """
        faiss = import_faiss()
        try:
            replace_atomically(path, lambda part: faiss.write_index(self.index, str(part)))
        except (RuntimeError, OSError) as error:
            raise RunError(f"{path} cannot be written: {_reason(error)}") from None

    def __len__(self) -> int:
        return int(self.index.ntotal)

    @property
    def least_rows(self) -> int:
        """Rows that training needs."""
        return _PER_CELL * int(self._inner.nlist) if self.has_cells else 2 * _PER_CELL

    @property
    def most_effort(self) -> int:
        """Beyond which looking at all rows is as good: a quarter of the cells, or of the rows."""
        if self.has_cells:
            return max(1, int(self._inner.nlist) // 4)
        return max(16, min(len(self) // 4, 4096))

    def effort(self, setting: Setting) -> int:
        """That of a search: a walk through a graph must be as broad as it has candidates."""
        return setting.effort if self.has_cells else max(setting.effort, setting.candidates)

    def train(self, snapshot: Snapshot) -> None:
        """Train on a sample of the snapshot's live rows.

        Raises:
            RunError: they are too few for this kind of index.
        """
        wanted = _TRAINED_CODES
        if self.has_cells:
            wanted = max(_TRAINED_PER_CELL * int(self._inner.nlist), 1 << 14)
        rows = np.flatnonzero(snapshot.live)
        if len(rows) > wanted:
            rows = np.sort(np.random.default_rng(0).choice(rows, wanted, replace=False))
        try:
            self.index.train(snapshot.vectors(rows))
        except RuntimeError as error:
            raise RunError(_reason(error)) from None

    def fill(self, snapshot: Snapshot) -> None:
        """Add the snapshot's rows that are not in here yet, removed ones too: row is number."""
        start = len(self)
        with bar("faiss", "rows", total=len(snapshot) - start) as progress:
            for first, block in snapshot.blocks():
                new = block[max(0, start - first) :]
                if len(new):
                    self.index.add(torch.from_numpy(new).float().numpy())
                    progress.update(len(new))

    def nearest(self, queries: Scores, setting: Setting, selector: Any) -> Rows:  # noqa: ANN401
        """Rows that are probably nearest, best first by what their codes tell, then -1.

        Args:
            queries: [q, D].
            setting: how hard to look.
            selector: of `selector`.

        Returns:
            [q, candidates].
        """
        faiss = import_faiss()
        if self.has_cells:
            inner = faiss.SearchParametersIVF(nprobe=setting.effort, sel=selector)
        else:
            inner = faiss.SearchParametersHNSW(efSearch=self.effort(setting), sel=selector)
        options = inner
        if self._is_rotated:
            options = faiss.SearchParametersPreTransform(index_params=inner)
        with _one_thread(faiss) if len(queries) == 1 else nullcontext():
            found: Rows = self.index.search(queries, setting.candidates, params=options)[1]
        return found


def _reason(error: Exception) -> str:
    """What faiss says, without the signature and the place in its source."""
    return re.sub(r".*\.(?:cpp|h):\d+: (?:Error: )?", "", str(error), flags=re.DOTALL)


def selector(allowed: Mask) -> Any:  # noqa: ANN401
    """What keeps faiss from other rows than these; None where all are allowed."""
    if allowed.all():
        return None
    return import_faiss().IDSelectorBitmap(np.packbits(allowed, bitorder="little"))


@contextmanager
def _one_thread(faiss: Any) -> Iterator[None]:  # noqa: ANN401
    """One query takes about a millisecond: threads would wait for one another for longer.

    The number is a setting of the calling thread, and is put back.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
