"""An index and its model as one: pictures and texts in, hits out."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from vlp.encoder import BaseEncoder
from vlp.errors import InputError
from vlp.retrieval.backends import backend_class
from vlp.retrieval.backends.base import Backend
from vlp.retrieval.background import Background, make_background
from vlp.retrieval.conditions import rows_where
from vlp.retrieval.directions import Direction, direction
from vlp.retrieval.manifest import Manifest, ModelMark
from vlp.retrieval.query import Found, Query
from vlp.retrieval.ranking import Ranking
from vlp.retrieval.snapshot import Rows, Snapshot
from vlp.retrieval.store import Addition, Store

_SAMPLED = 1000  # pictures of the index that picture queries are compared with


class Retriever:
    """Search in an index.

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
        encoder: BaseEncoder | None = None,
        *,
        device: str | None = None,
    ) -> None:
        self.store = store
        self._device = device
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._view: View | None = None
        self._encoder = encoder
        if encoder is not None:
            self._check(encoder)

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
            path: folder of the index; without it a temporary one, until `save`.
            device: default the GPU if there is one.
            precision: of the model.
        """
        import vlp

        encoder = vlp.load(checkpoint, device=device, precision=precision)
        temporary = tempfile.TemporaryDirectory(prefix="vlp-index-") if path is None else None
        folder = Path(temporary.name) if temporary else Path(str(path)).expanduser()
        background = make_background(lambda texts: encoder.encode_text(texts))
        store = Store.create(
            folder,
            dim=background.texts.shape[1],
            modality="image",
            model=model_mark(encoder, str(checkpoint)),
            background=background,
        )
        made = cls(store, encoder)
        made._temporary = temporary
        return made

    @classmethod
    def load(
        cls, path: str | Path, model: str | Path | None = None, *, device: str | None = None
    ) -> "Retriever":
        """An index from its folder.

        Args:
            path: the folder.
            model: what `vlp.load` takes; default the model that the index names.
            device: default the GPU if there is one.

        Raises:
            InputError: no index, or the model is another than the index's.
        """
        store = Store(Path(path).expanduser())
        if model is None:
            return cls(store, device=device)
        import vlp

        return cls(store, vlp.load(model, device=device))

    @property
    def manifest(self) -> Manifest:
        """What the index consists of, at its newest."""
        return self.view.snapshot.manifest

    def __len__(self) -> int:
        return self.manifest.live_rows

    @property
    def encoder(self) -> BaseEncoder:
        """The index's model, loaded when it is first asked for.

        Raises:
            InputError: the index does not know its model, or that is gone or another one now.
        """
        if self._encoder is None:
            import vlp

            mark = self.manifest.model
            if mark is None:
                raise InputError(
                    f"{self.store.folder} does not know which model made its vectors: "
                    "only queries by id or vector are possible; name the model when indexing"
                )
            try:
                encoder = vlp.load(mark.source, device=self._device)
            except (OSError, ValueError) as error:
                raise InputError(f"the index's model {mark} cannot be loaded: {error}") from error
            self._check(encoder)
            self._encoder = encoder
        return self._encoder

    def add(
        self, images: Sequence[Any], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> Rows:
        """Add pictures.

        Args:
            images: as `encode_image` takes them.
            metadata: of each a mapping; paths among the images become `image_path` by themselves.

        Returns:
            Their ids.

        Raises:
            InputError: a picture cannot be read (none is added then), or metadata do not fit.
        """
        if metadata is not None and len(metadata) != len(images):
            raise InputError(f"{len(images)} pictures, but metadata of {len(metadata)}")
        rows = [dict(row) for row in metadata or [{}] * len(images)]
        for image, row in zip(images, rows, strict=True):
            if isinstance(image, str | Path):
                row.setdefault("image_path", str(Path(image).absolute()))
        vectors = _numpy(self.encoder.encode_image(images)).astype(np.float16)
        names = dict.fromkeys(name for row in rows for name in row)
        table = pa.table({name: [row.get(name) for row in rows] for name in names})
        if not names:
            table = pa.table({"image_path": pa.nulls(len(rows), pa.string())})
        return self.store.change(add=[Addition(vectors=vectors, table=table)])

    def remove(self, ids: Sequence[int]) -> None:
        """Remove pictures.

        Raises:
            InputError: an id is not in the index; none is removed then.
        """
        self.store.change(remove=ids)

    def build(self, backend: str, **options: Any) -> None:  # noqa: ANN401 (each backend's own)
        """Search with another backend from now on, or build the present one afresh."""
        self.store.rebuild(backend, options)

    def save(self, path: str | Path) -> None:
        """Copy the index to a folder of its own.

        Raises:
            InputError: the folder exists.
        """
        target = Path(path).expanduser()
        if target.exists():
            raise InputError(f"{target} exists already")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as near:
            shutil.copytree(self.store.folder, Path(near, "index"))
            Path(near, "index").rename(target)

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
        elif options:
            query = Query(**{**vars(query), **options})
        view = self.view
        asked, notes = self._direction(query, view)
        allowed = rows_where(view.snapshot, query.where)
        return Ranking(view, query, asked, allowed).found(notes)

    @property
    def view(self) -> "View":
        """The newest state, opened anew when the index has changed."""
        from vlp.retrieval.manifest import read_manifest

        manifest = read_manifest(self.store.folder)
        if self._view is None or self._view.snapshot.manifest != manifest:
            if self._view is not None:
                self._view.backend.close()
            self._view = View(self.store)
        return self._view

    def _direction(self, query: Query, view: "View") -> tuple[Direction, list[str]]:
        dim = view.snapshot.dim
        notes: list[str] = []
        texts = [*query.texts, *query.without]
        encoded = np.empty((0, dim), np.float32)
        if texts:
            cut = self.encoder.truncated(texts)
            if cut:
                notes.append(
                    f"{cut} of {len(texts)} texts cut at {self.encoder.context_length} tokens"
                )
            encoded = _numpy(self.encoder.encode_text(texts))
        pictures = [np.empty((0, dim), np.float32)]
        if query.images:
            pictures.append(_numpy(self.encoder.encode_image(list(query.images))))
        pictures.append(view.snapshot.vectors(view.snapshot.rows_of(query.like)))
        pictures += [_checked_vector(vector, dim) for vector in query.vectors]
        asked = direction(
            encoded[: len(query.texts)],
            np.concatenate(pictures),
            encoded[len(query.texts) :],
            query.weights,
            view.background,
        )
        return asked, notes

    def _check(self, encoder: BaseEncoder) -> None:
        mark = self.manifest.model
        if mark is not None and mark.fingerprint != encoder.fingerprint:
            other = model_mark(encoder, str(encoder.path))
            raise InputError(
                f"{self.store.folder} was made with {mark}, not with {other}: "
                "their vectors do not belong together"
            )


class View:
    """One state of an index, with everything that a search in it needs.

    Args:
        store: the index.
    """

    def __init__(self, store: Store) -> None:
        self.snapshot: Snapshot = store.snapshot()
        mark = self.snapshot.manifest.backend
        self.backend: Backend = backend_class(mark.name)(self.snapshot, mark.options, mark.state)
        self.background: Background | None = store.background(self.snapshot.manifest)

    @cached_property
    def sampled(self) -> NDArray[np.float32]:
        """Vectors [m, D] of pictures from the whole index, at most 1,000."""
        rows = np.flatnonzero(self.snapshot.live)
        return self.snapshot.vectors(rows[:: max(1, len(rows) // _SAMPLED)][:_SAMPLED])


def model_mark(encoder: BaseEncoder, source: str) -> ModelMark:
    """What an index notes about its model: of a run that goes on training, this checkpoint."""
    there = Path(encoder.path or source).expanduser()
    return ModelMark(
        source=str(there.absolute()) if there.exists() else source,
        fingerprint=encoder.fingerprint,
        name=str(encoder.description["model"]),
    )


def _checked_vector(vector: Any, dim: int) -> NDArray[np.float32]:  # noqa: ANN401 (what numpy takes)
    array = np.asarray(vector, np.float32).reshape(1, -1)
    norm = np.linalg.norm(array)
    if array.shape[1] != dim or not np.isfinite(norm) or norm == 0:
        raise InputError(f"a vector of the query must be {dim} finite numbers that are not all 0")
    found: NDArray[np.float32] = array / norm
    return found


def _numpy(features: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = features.float().cpu().numpy()
    return array
