"""The indices that are served, by name, and what clients are told of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vlp.encoder import BaseEncoder
from vlp.errors import InputError
from vlp.retrieval.manifest import Manifest, read_manifest
from vlp.retrieval.query import Found, Query
from vlp.retrieval.retriever import Retriever
from vlp.retrieval.snapshot import ID, Snapshot
from vlp.retrieval.store import Store
from vlp.retrieval.view import View
from vlp.serve.refusals import Refused
from vlp.serve.schemas import ColumnResponse, IndexResponse, ModelResponse

_FEW = 20  # distinct values of a column that clients are told
_LOOKED_AT = 10_000  # first rows that show most columns to have more


class Served:
    """An index that is served.

    Args:
        name: what clients call it.
        retriever: the index with its model.
    """

    def __init__(self, name: str, retriever: Retriever) -> None:
        self.name = name
        self.retriever = retriever
        self._described: tuple[Manifest, list[ColumnResponse]] | None = None

    @property
    def view(self) -> View:
        """The newest state.

        Raises:
            Refused: the index is gone or damaged.
        """
        try:
            return self.retriever.view
        except InputError as error:
            raise Refused(503, f"the index {self.name!r} cannot be read: {error}") from None

    def search(self, query: Query) -> Found:
        """Find pictures.

        Raises:
            Refused: the index is gone or damaged, which is no fault of the query.
            InputError: the query does not fit the index.
        """
        _ = self.view
        return self.retriever.search(query)

    def about(self) -> IndexResponse:
        """What clients are told."""
        view = self.view
        snapshot = view.snapshot
        manifest = snapshot.manifest
        if self._described is None or self._described[0] != manifest:
            self._described = manifest, _columns(snapshot)
        mark = manifest.model
        return IndexResponse(
            name=self.name,
            rows=manifest.live_rows,
            modality=manifest.modality,
            model=ModelResponse(**vars(mark)) if mark else None,
            backend=manifest.backend.name,
            columns=self._described[1],
            background=view.background is not None,
        )


class Catalogue:
    """All indices that are served.

    Args:
        indices: the first is the one that is meant when none is named.
    """

    def __init__(self, indices: Sequence[Served]) -> None:
        self._indices = {served.name: served for served in indices}

    @property
    def names(self) -> list[str]:
        """Of all indices."""
        return list(self._indices)

    def get(self, name: str | None) -> Served:
        """An index by its name; the first without one.

        Raises:
            Refused: there is none of this name.
        """
        try:
            return self._indices[self.names[0] if name is None else name]
        except KeyError:
            raise Refused(
                404, f"there is no index {name!r}; choices are {', '.join(self.names)}"
            ) from None

    def about(self) -> list[IndexResponse]:
        """What clients are told of all."""
        return [served.about() for served in self._indices.values()]


def open_catalogue(
    folders: Sequence[str],
    model: str | None,
    device: str | None,
    say: Callable[[str], None],
) -> Catalogue:
    """Open indices and load their models, each model once.

    Args:
        folders: of the indices.
        model: what `vlp.load` takes; default the models that the indices name.
        device: for the models.
        say: tells people what is done.

    Raises:
        InputError: no index, or its model cannot be loaded or is another.
    """
    paths = [Path(folder).expanduser().absolute() for folder in folders]
    paths = [path.resolve() if ".." in path.parts else path for path in paths]  # ".." is no name
    names = _names(paths)
    marks = [read_manifest(path).model for path in paths]  # before models are loaded, which is slow
    given = None
    if model is not None:
        say(f"loading {model}")
        given = _load(model, device)
    encoders: dict[str, BaseEncoder] = {}
    served = []
    for name, path, mark in zip(names, paths, marks, strict=True):
        encoder = given or (encoders.get(mark.fingerprint) if mark else None)
        retriever = Retriever(Store(path), encoder, device=device)
        if encoder is None and mark is not None:
            say(f"loading {mark}")
            encoders[mark.fingerprint] = retriever.encoder
        manifest = retriever.view.snapshot.manifest
        unknown = "" if mark or given else "; its model is unknown: no texts and pictures, only ids"
        say(f"{name}: {manifest.live_rows:,} rows, {manifest.backend.name} search{unknown}")
        served.append(Served(name, retriever))
    return Catalogue(served)


def _load(model: str, device: str | None) -> BaseEncoder:
    import vlp

    encoder: BaseEncoder = vlp.load(model, device=device)
    return encoder


def _names(paths: Sequence[Path]) -> list[str]:
    """Names of folders; with those of their parents where they would be the same."""
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}-{path.name}" for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two indices would be called {name!r}: rename a folder")
    return names


def _columns(snapshot: Snapshot) -> list[ColumnResponse]:
    return [
        ColumnResponse(name=name, type=str(kind), values=_values(snapshot, name, kind))
        for name, kind in snapshot.columns.items()
        if name != ID
    ]


def _values(snapshot: Snapshot, name: str, kind: pa.DataType) -> list[Any] | None:
    """The distinct values of a column, null last; None where they are many, or no choice."""
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (is_text or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        return None
    column = snapshot.column(name)
    if len(pc.unique(column[:_LOOKED_AT])) > _FEW:
        return None
    distinct = pc.unique(column.filter(pa.array(snapshot.live))).to_pylist()
    if len(distinct) > _FEW:
        return None
    return sorted(distinct, key=lambda value: (value is None, "" if value is None else value))
