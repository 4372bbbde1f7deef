"""An index on disk: rows are added and removed, and every change is there wholly or not at all.

Files are immutable; a change writes new ones, flushes them and then replaces `index.json`, which
names all that belong. Whoever is killed before that leaves files that nobody names, which the next
writer removes. Writers exclude each other by a lock that ends with their process; readers need
none.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlp.data.files import replace_atomically
from vlp.errors import InputError, RunError
from vlp.retrieval.backends import NAMES, backend_class
from vlp.retrieval.backends.base import Change, Say
from vlp.retrieval.background import Background, read_background
from vlp.retrieval.folder import BACKGROUND_FILE, check_free, flush_names, locked, sweep
from vlp.retrieval.manifest import (
    BackendMark,
    Manifest,
    Modality,
    ModelMark,
    read_manifest,
    write_manifest,
)
from vlp.retrieval.segments import SegmentWriter, write_table
from vlp.retrieval.snapshot import ID, SEGMENTS, Rows, Snapshot, Vectors, open_snapshot, read_table

ASIDE = pa.schema(
    [
        ("image_path", pa.string()),
        ("mark", pa.string()),  # by which a change of the picture shows
        ("sha256", pa.string()),  # of a copy: the row with these bytes stands for it
        ("problem", pa.string()),  # why it could not be embedded
        ("indexed_from", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Addition:
    """Rows to add.

    Args:
        vectors: [n, D] float16, unit vectors.
        table: n rows of metadata; the store adds the ids.
    """

    vectors: Vectors
    table: pa.Table


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Data that rows came from, for `refresh`.

    Args:
        data: of each where it is and how it is read.
        aside: pictures of the data that have no row, by the schema `ASIDE`.
    """

    data: Sequence[Mapping[str, Any]]
    aside: pa.Table


class Store:
    """An index that exists.

    Args:
        folder: of the index.

    Raises:
        InputError: it is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: int | None = None  # the thread that is in `exclusive`
        read_manifest(folder)

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        dim: int,
        modality: Modality,
        model: ModelMark | None,
        background: Background | None,
    ) -> "Store":
        """A new, empty index with exact search.

        Raises:
            InputError: the folder already holds one, or something else.
            RunError: the folder cannot be written to.
        """
        check_free(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{folder} cannot be made: {error.strerror}") from error
        with locked(folder):
            check_free(folder)  # nobody was faster
            name = None
            if background is not None:
                name = BACKGROUND_FILE
                replace_atomically(folder / name, background.write)
            mark = BackendMark(name="exact")
            write_manifest(
                folder,
                Manifest(dim=dim, modality=modality, model=model, backend=mark, background=name),
            )
            flush_names(folder)
        return cls(folder)

    def snapshot(self) -> Snapshot:
        """The newest state."""
        return open_snapshot(self.folder)

    def background(self, manifest: Manifest) -> Background | None:
        """What hits are compared with; None where no model is known."""
        if manifest.background is None:
            return None
        return read_background(self.folder / manifest.background)

    def change(
        self,
        *,
        add: Sequence[Addition] = (),
        remove: Sequence[int] | Rows = (),
        sources: Sources | None = None,
        say: Say = print,
    ) -> Rows:
        """Add and remove rows in one change.

        Args:
            add: rows to add.
            remove: ids.
            sources: what is known of the data that the rows came from, when that changes.
            say: tells people what a backend does.

        Returns:
            The new rows' ids, ascending, in the order given.

        Raises:
            InputError: vectors or metadata that do not fit the index; an id that it does not hold.
            RunError: another writer is at work, or the backend failed.
        """
        with self._writing() as before:
            manifest = before.manifest
            gone = np.unique(before.rows_of(remove))
            vectors, table = self._checked(before, add)
            ids = np.arange(manifest.next_id, manifest.next_id + len(vectors), dtype=np.int64)
            after = replace(
                manifest,
                generation=manifest.generation + 1,
                next_id=manifest.next_id + len(ids),
            )
            if sources is not None:
                after = self._with(after, sources)
            live = before.live.copy()
            live[gone] = False
            writer = SegmentWriter(self.folder, self.background(manifest))
            after, kept = writer.write(before, after, live, vectors, table.add_column(0, ID, [ids]))
            self._commit(after, kept, manifest.backend, say)
        return ids

    def rebuild(self, backend: str, options: Mapping[str, Any], say: Say = print) -> None:
        """Build the backend afresh, or another one; removed rows are dropped for good.

        Raises:
            InputError: an unknown backend or option.
            RunError: another writer is at work, or the backend failed.
        """
        kind = backend_class(backend)
        options = kind.check(options)
        with self._writing() as before:
            old = before.manifest
            after = replace(old, generation=old.generation + 1)
            if not before.live.all():
                writer = SegmentWriter(self.folder, None)
                after = writer.compact(before, after, before.live)
            self._commit(after, 0, BackendMark(name=backend, options=options), say)

    def aside(self, manifest: Manifest) -> pa.Table:
        """The table of `Sources.aside`."""
        if manifest.aside is None:
            return ASIDE.empty_table()
        return read_table(self.folder / manifest.aside)

    def _with(self, after: Manifest, sources: Sources) -> Manifest:
        name = None
        if len(sources.aside):
            name = f"aside-{after.generation:06d}.arrow"
            replace_atomically(self.folder / name, lambda path: write_table(path, sources.aside))
        return replace(after, sources=tuple(map(dict, sources.data)), aside=name)

    def _commit(self, after: Manifest, kept: int, backend: BackendMark, say: Say) -> None:
        """Let the backend follow, then make the change visible and remove what is old.

        Args:
            after: the new state but for its backend.
            kept: so many of the first rows are as they were; 0 when rows have moved.
            backend: what searches it, with the state from before the change.
            say: tells people what a backend does.
        """
        change = Change(
            folder=self.folder,
            after=Snapshot(self.folder, after),
            first_new_row=kept,
            options=backend.options,
            state=backend.state if kept else {},
            generation=after.generation,
            say=say,
        )
        state = backend_class(backend.name).update(change)
        after = replace(after, backend=replace(backend, state=state))
        flush_names(*(path for path in (self.folder / SEGMENTS, self.folder) if path.exists()))
        write_manifest(self.folder, after)
        try:
            flush_names(self.folder)
            sweep(self.folder, after)
            for name in NAMES:
                now = after.backend if name == backend.name else None
                backend_class(name).discard(self.folder, now, say)
        except (InputError, OSError) as error:
            say(f"{self.folder} was changed, but could not be tidied up: {error}")

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other writers out while several changes are made, or one is prepared.

        Raises:
            RunError: there is one, or the folder cannot be written to.
        """
        if self._writer == threading.get_ident():
            yield
            return
        with locked(self.folder):
            self._writer = threading.get_ident()
            try:
                yield
            finally:
                self._writer = None

    @contextmanager
    def _writing(self) -> Iterator[Snapshot]:
        """The newest state, which nobody else changes meanwhile."""
        with self.exclusive():
            before = self.snapshot()
            sweep(self.folder, before.manifest)  # of a writer that was killed
            try:
                yield before
            except BaseException as error:
                sweep(self.folder, read_manifest(self.folder))  # a full disk needs the room
                if isinstance(error, OSError):  # that of numpy for a full disk has no number
                    told = error if error.errno else f"is the disk full? ({error})"
                    raise RunError(f"{self.folder} was not changed: {told}") from error
                raise

    def _checked(self, before: Snapshot, add: Sequence[Addition]) -> tuple[Vectors, pa.Table]:
        """All new rows as one.

        Raises:
            InputError: they do not fit one another or the index.
        """
        known = pa.schema([(n, kind) for n, kind in before.columns.items() if n != ID])
        tables = [_plain(part.table) for part in add]
        for part, table in zip(add, tables, strict=True):
            self._check_part(part.vectors, table, before.dim)
        try:
            schema = pa.unify_schemas([known, *(table.schema for table in tables)])
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(
                f"a column of the metadata has another type in {self.folder}: {error}"
            ) from None
        empty = np.empty((0, before.dim), np.float16)
        names = [n for n in schema.names if any(n in table.schema.names for table in tables)]
        joined = pa.concat_tables(tables or [pa.table({})], promote_options="default")
        return np.concatenate([empty, *(_halves(part) for part in add)]), joined.select(names)

    def _check_part(self, vectors: NDArray[Any], table: pa.Table, dim: int) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != dim:
            raise InputError(
                f"vectors of shape {vectors.shape} do not fit the index {self.folder}, "
                f"whose vectors have {dim} numbers"
            )
        if len(vectors) != len(table):
            raise InputError(f"{len(vectors)} vectors, but {len(table)} rows of metadata")
        names = table.schema.names
        if ID in names:
            raise InputError(f"the column {ID!r} is the index's own; rename that of the data")
        if len(set(names)) < len(names):
            raise InputError(f"two columns of the metadata have one name: {', '.join(names)}")
        _check_unit(vectors)


def _halves(part: Addition) -> Vectors:
    return np.asarray(part.vectors, np.float16)


def _plain(table: pa.Table) -> pa.Table:
    """The same with strings of one type: other programs store them in several."""
    types = [_plain_type(field.type) for field in table.schema]
    return table.cast(pa.schema(list(zip(table.schema.names, types, strict=True))))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.string() if str(kind) in ("large_string", "string_view") else kind


def _check_unit(vectors: NDArray[Any]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
    wrong = np.flatnonzero(~(np.abs(norms - 1) < 1e-2))  # also NaN
    if len(wrong):
        raise InputError(
            f"{len(wrong)} of {len(norms)} vectors have not the length 1; "
            f"the first is number {wrong[0]} with {norms[wrong[0]]:.4g}"
        )
