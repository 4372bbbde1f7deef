"""An index and its model as one: pictures and texts in, hits out."""

import logging
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlp.errors import InputError, RunError
from vlp.progress import watched
from vlp.retrieval.background import make_background
from vlp.retrieval.conditions import rows_where
from vlp.retrieval.directions import Direction, Kind, Part
from vlp.retrieval.folder import check_free
from vlp.retrieval.index_model import IndexModel, model_mark
from vlp.retrieval.manifest import MANIFEST_FILE, Manifest, read_manifest
from vlp.retrieval.query import Found, Query
from vlp.retrieval.ranking import Ranking
from vlp.retrieval.snapshot import Rows
from vlp.retrieval.store import Addition, Store
from vlp.retrieval.view import View

if TYPE_CHECKING:
    from vlp.encoder import BaseEncoder

log = logging.getLogger(__name__)

_TRIES = 5  # to copy an index that others change

__all__ = ["Retriever", "View", "model_mark"]


class Retriever:
    """Search in an index.

    Several threads may search with one retriever. Changes by other processes are seen by the next
    search.

    Args:
        store: the index.
        encoder: the model that it was made with; None to load it when a query needs it.
        device: for loading it.

    Raises:
        InputError: the model is another than the index's.
    """

    def __init__(
        self,
        store: Store,
        encoder: "BaseEncoder | None" = None,
        *,
        device: str | None = None,
    ) -> None:
        self.store = store
        self._model = IndexModel(store.folder, encoder, device)
        self._temporary: weakref.finalize[..., Any] | None = None
        self._opening = threading.Lock()
        self._view: View | None = None
        self._stamp: tuple[int, ...] = ()

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: str | Path,
        path: str | Path | None = None,
        *,
        device: str | None = None,
        precision: str | None = None,
    ) -> "Retriever":
        """A new, empty index for a model.

        Args:
            checkpoint: what `vlp.load` takes.
            path: folder of the index; without it a temporary one, which is removed when the
                retriever is closed or the process ends: `save` keeps a copy.
            device: default the GPU if there is one.
            precision: of the model.

        Raises:
            InputError: no such model, or the folder is not empty.
        """
        import vlp

        if path is not None:
            check_free(Path(path).expanduser())  # before what takes a while
        encoder = vlp.load(checkpoint, device=device, precision=precision)
        background = make_background(encoder.encode_text)
        folder = Path(tempfile.mkdtemp(prefix="vlp-index-") if path is None else path).expanduser()
        store = Store.create(
            folder,
            dim=encoder.width,
            modality="image",
            model=model_mark(encoder, str(checkpoint)),
            background=background,
        )
        made = cls(store, encoder)
        if path is None:
            made._temporary = weakref.finalize(made, shutil.rmtree, folder, ignore_errors=True)
        return made

    @classmethod
    def load(
        cls, path: str | Path, model: str | Path | None = None, *, device: str | None = None
    ) -> "Retriever":
        """An index from its folder.

        Args:
            path: the folder.
            model: what `vlp.load` takes; default the model that the index names, which is loaded
                when a query needs it.
            device: default the GPU if there is one.

        Raises:
            InputError: no index, or the model is another than the index's.
        """
        store = Store(Path(path).expanduser())
        if model is None:
            return cls(store, device=device)
        import vlp

        return cls(store, vlp.load(model, device=device))

    def __enter__(self) -> "Retriever":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and connections, which the next search opens again.

        A temporary index is removed.
        """
        with self._opening:
            self._retire()
        if self._temporary is not None:
            self._temporary()

    @property
    def manifest(self) -> Manifest:
        """What the index consists of, at its newest."""
        return read_manifest(self.store.folder)

    def __len__(self) -> int:
        """How many pictures it holds."""
        return self.manifest.live_rows

    def __bool__(self) -> bool:
        """True: a retriever whose index is empty is one all the same."""
        return True

    @property
    def encoder(self) -> "BaseEncoder":
        """The index's model, loaded when it is first asked for.

        Raises:
            InputError: the index does not know its model, or that is gone or another one now.
        """
        return self._model.encoder

    def add(
        self, images: Iterable[Any], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> Rows:
        """Add pictures, or texts to an index of texts.

        Args:
            images: as `encode_image` takes several, read as they are needed; or texts.
            metadata: of each a mapping; paths among the pictures become `image_path` by
                themselves, and texts become `caption`.

        Returns:
            Their ids, [n].

        Raises:
            InputError: a picture cannot be read, or metadata do not fit; none is added then.
            RunError: another process is changing the index.
        """
        from vlp.pixels import is_one

        if is_one(images):
            raise InputError(f"add takes several pictures, not one {type(images).__name__}")
        items: Any = images if isinstance(images, Sized) else list(images)
        given = [{}] * len(items) if metadata is None else metadata
        if len(given) != len(items):
            raise InputError(f"{len(items)} pictures, but metadata of {len(given)}")
        texts = self.manifest.modality == "text"
        if texts and not all(isinstance(item, str) for item in items):
            raise InputError(f"{self.store.folder} is an index of texts: it takes no pictures")
        rows = [dict(row) for row in given]
        for item, row in zip(items, rows, strict=True):
            if texts:
                row.setdefault("caption", item)
            elif isinstance(item, str | os.PathLike):
                row.setdefault("image_path", str(Path(item).expanduser().absolute()))
        table = _table(rows)
        if texts:
            encoded, _ = self._model.encode_text(items)
        else:
            several = watched(items, "encoding", "pictures") if isinstance(items, list) else items
            encoded = self._model.encode_image(several)
        addition = Addition(vectors=encoded.astype(np.float16), table=table)
        return self.store.change(add=[addition], say=log.info)

    def remove(self, ids: Sequence[int]) -> None:
        """Remove pictures.

        Raises:
            InputError: an id is not in the index; none is removed then.
            RunError: another process is changing the index.
        """
        self.store.change(remove=[ids] if isinstance(ids, int) else ids, say=log.info)

    def build(self, backend: str, **options: Any) -> None:  # noqa: ANN401 (each backend's own)
        """Search with another backend from now on, or build the present one afresh.

        Args:
            backend: "exact", "faiss" or "milvus".
            options: of the backend.

        Raises:
            InputError: an unknown backend or option.
            RunError: the backend failed.
        """
        self.store.rebuild(backend, options)

    def save(self, path: str | Path) -> None:
        """Copy the index to a folder of its own; this retriever goes on with the one it has.

        Raises:
            InputError: the folder exists.
            RunError: the index changes all the time.
        """
        target = Path(path).expanduser().absolute()
        if target.exists():
            raise InputError(f"{target} exists already")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as near:
            copy = Path(near, "index")
            _copy_unchanged(self.store.folder, copy)
            copy.rename(target)

    def search(self, query: "Query | str", **options: Any) -> Found:  # noqa: ANN401 (of Query)
        """Find pictures.

        Args:
            query: a text, or a whole query.
            options: with a text, the other fields of `Query`.

        Raises:
            InputError: the query is empty or does not fit the index.
        """
        if isinstance(query, str):
            query = Query(texts=[query], **options)
        elif not isinstance(query, Query):
            raise InputError(f"search takes a text or a Query, got {type(query).__name__}")
        elif options:
            query = Query(**{**vars(query), **options})
        with self._leased() as view:
            allowed = rows_where(view.snapshot, query.where)
            asked, notes = self._direction(query, view)
            return Ranking(view, query, asked, allowed).found(notes)

    @property
    def view(self) -> View:
        """The newest state, opened anew when the index has changed.

        Its backend is closed once the index has changed and no search uses it any more.
        """
        with self._opening:
            return self._newest()

    @contextmanager
    def _leased(self) -> Iterator[View]:
        """The newest state, whose backend stays open meanwhile."""
        with self._opening:
            view = self._newest()
            view.users += 1
        try:
            yield view
        finally:
            with self._opening:
                view.users -= 1
                if view is not self._view and not view.users:
                    view.backend.close()

    def _newest(self) -> View:
        while True:
            stamp = _stamp(self.store.folder)
            if self._view is not None and stamp == self._stamp:
                return self._view
            try:
                view = View(self.store)
            except (OSError, InputError):
                if _stamp(self.store.folder) == stamp:
                    raise
                continue  # someone changed the index meanwhile
            self._retire()
            self._view, self._stamp = view, stamp
            return view

    def _retire(self) -> None:
        view, self._view = self._view, None
        if view is not None and not view.users:
            view.backend.close()

    def _direction(self, query: Query, view: View) -> tuple[Direction, list[str]]:
        empty = np.empty((0, view.snapshot.dim), np.float32)
        texts = [*query.texts, *query.without]
        encoded, notes = self._model.encode_text(texts) if texts else (empty, [])
        pictures = self._model.encode_image(query.images) if query.images else empty
        rows = view.snapshot.rows_of(query.like)
        own: Kind = "text" if view.snapshot.manifest.modality == "text" else "picture"
        vectors = [_checked_vector(vector, view.snapshot.dim) for vector in query.vectors]
        found: list[tuple[NDArray[np.float32], Kind, int | None]] = [
            *((vector, "text", None) for vector in encoded[: len(query.texts)]),
            *((vector, "picture", None) for vector in pictures),
            *zip(view.snapshot.vectors(rows), [own] * len(rows), rows.tolist(), strict=True),
            *((vector, "other", None) for vector in vectors),
        ]
        weights = query.weights or [1.0] * len(found)
        largest = max(weights)  # divided by it, no weight is too large for float32
        parts = [
            Part(vector=vector, weight=float(weight / largest), kind=kind, row=row)
            for (vector, kind, row), weight in zip(found, weights, strict=True)
        ]
        return Direction(parts, encoded[len(query.texts) :]), notes


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {}
    for name in names:
        try:
            columns[str(name)] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise InputError(
                f"metadata {name!r}: its values are not of one type: {error}"
            ) from None
    return pa.table(columns or {"image_path": pa.nulls(len(rows), pa.string())})


def _copy_unchanged(folder: Path, copy: Path) -> None:
    """Copy an index as it is at one moment, though others may be changing it."""
    for _ in range(_TRIES):
        before = read_manifest(folder)
        try:
            shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".*"))
        except shutil.Error:  # a file is gone meanwhile
            if read_manifest(folder) == before:
                raise
        if read_manifest(folder) == before:
            return
        shutil.rmtree(copy)
    raise RunError(f"{folder} is being changed all the time: it cannot be copied now")


def _stamp(folder: Path) -> tuple[int, ...]:
    """Another one after each change of an index, which replaces the file."""
    try:
        found = os.stat(folder / MANIFEST_FILE)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _checked_vector(vector: Any, dim: int) -> NDArray[np.float32]:  # noqa: ANN401 (what numpy takes)
    try:
        array = np.asarray(vector, np.float64)  # whose norms do not overflow
    except (TypeError, ValueError):
        array = np.empty(0)
    norm = np.linalg.norm(array)
    if array.shape != (dim,) or not np.isfinite(norm) or norm == 0:
        raise InputError(
            f"a vector of the query must be {dim} finite numbers that are not all 0, as the "
            f"index's are; got {list(array.shape)}"
        )
    found: NDArray[np.float32] = (array / norm).astype(np.float32)
    return found
