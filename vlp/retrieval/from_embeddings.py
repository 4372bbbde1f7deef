"""Embeddings on disk into an index, each picture once."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from vlp.errors import InputError
from vlp.retrieval.backends.base import Say
from vlp.retrieval.embedding.items import Item
from vlp.retrieval.embedding.reader import EmbeddingsFolder
from vlp.retrieval.followed_data import (
    COPIES,
    COPY_MARKS,
    absolute,
    copy_entry,
    prepared,
    with_source,
)
from vlp.retrieval.indexing import Updated
from vlp.retrieval.manifest import Manifest, ModelMark
from vlp.retrieval.snapshot import Snapshot, Vectors
from vlp.retrieval.store import Addition, Sources, Store
from vlp.retrieval.updating import Entry, Plan, aside_table, plan

_KNOWN_BY = ("image_path", "mark", "sha256")  # columns that `vlp embed` writes


def add_embeddings(store: Store, folder: EmbeddingsFolder, say: Say = print) -> Updated:
    """Add what `vlp embed` or clip-retrieval wrote, in one change.

    Of our own, what the index has already is passed over, and what has changed is replaced.

    Raises:
        InputError: another model, another length or another modality than the index's; all of
            clip-retrieval's rows are there already.
        RunError: another process is changing the index.
    """
    with store.exclusive():
        snapshot = store.snapshot()
        _check_fits(folder, store, snapshot.manifest)
        # `refresh` looks through pictures: an index of captions has none to follow
        source = folder.data if folder.modality == "image" else None
        parts = list(folder.partitions())
        added = _Added(store, snapshot, parts, None if source is None else absolute(source))
        if added.todo is None:
            _check_new(snapshot, folder, parts)
        for vectors, table in parts:
            added.take(vectors, table)
        sources = list(snapshot.manifest.sources)
        if added.data is not None:
            sources = with_source(sources, added.data, folder.options)
        ids = store.change(
            add=added.additions,
            remove=added.replaced,
            sources=Sources(data=sources, aside=aside_table(added.aside)),
            say=say,
        )
    todo = added.todo
    return Updated(
        added=len(ids),
        changed=len(todo.changed) if todo else 0,
        kept=todo.kept if todo else 0,
        waiting=todo.waiting if todo else 0,
        copies=added.copies,
    )


class _Added:
    """What becomes of the rows of embeddings.

    Args:
        todo: which are new; None where the tables do not tell.
        data: what was embedded, if that is to be followed.
    """

    def __init__(
        self,
        store: Store,
        snapshot: Snapshot,
        parts: Sequence[tuple[Vectors, pa.Table]],
        data: str | None,
    ) -> None:
        self.data = data
        self.by_content = snapshot.manifest.modality == "image"  # a copy may have another caption
        self.additions: list[Addition] = []
        self.copies = 0
        aside = store.aside(snapshot.manifest)
        self.aside: list[Entry] = aside.to_pylist()
        self.todo: Plan | None = None
        if all(set(_KNOWN_BY) <= set(table.column_names) for _, table in parts):
            items = [item for _, table in parts for item in _items(table)]
            self.todo = plan(snapshot, aside, data or "", items, remove_lost=False)
            self.aside = list(self.todo.aside)
            self.wanted = {item.image_path for item in self.todo.embed}

    @property
    def replaced(self) -> list[int]:
        """Ids of rows whose pictures have changed."""
        return [n for ids in self.todo.changed.values() for n in ids] if self.todo else []

    def take(self, vectors: Vectors, table: pa.Table) -> None:
        """Look at a partition."""
        if self.todo is not None:
            self._note_copies(table)
            new = np.array([p in self.wanted for p in table["image_path"].to_pylist()], np.bool_)
            vectors, table = _rows(vectors, table, new)
            if self.by_content:
                known = [sha256 in self.todo.known for sha256 in table["sha256"].to_pylist()]
                vectors, table = _rows(vectors, table, ~np.array(known, np.bool_))
        self.additions.append(Addition(vectors=vectors, table=prepared(table, self.data)))

    def _note_copies(self, table: pa.Table) -> None:
        """Pictures that have no row of their own, as `refresh` has to know them."""
        if self.data is None or self.todo is None:
            return
        found = []
        names = [n for n in (*_KNOWN_BY, COPIES, COPY_MARKS) if n in table.column_names]
        for row in table.select(names).to_pylist():
            if row["image_path"] in self.wanted and row["sha256"] in self.todo.known:
                found.append((row["image_path"], row["mark"], row["sha256"]))
            pairs = zip(row.get(COPIES) or (), row.get(COPY_MARKS) or (), strict=True)
            found += [(path, mark, row["sha256"]) for path, mark in pairs]
        for path, mark, sha256 in found:
            self.aside.append(copy_entry(path, mark, self.data, sha256, self.todo.removed))
        self.copies += len(found)


def _items(table: pa.Table) -> list[Item]:
    paths, marks = (table[name].to_pylist() for name in ("image_path", "mark"))
    return [Item(path, (), {}, mark, 0) for path, mark in zip(paths, marks, strict=True)]


def _rows(
    vectors: Vectors, table: pa.Table, wanted: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
) -> tuple[Vectors, pa.Table]:
    """Those that are wanted; all of them stay memory-mapped."""
    if wanted.all():
        return vectors, table
    return vectors[wanted], table.filter(pa.array(wanted))


def _check_fits(folder: EmbeddingsFolder, store: Store, manifest: Manifest) -> None:
    model = folder.model and ModelMark(**folder.model)
    if model and manifest.model and model.fingerprint != manifest.model.fingerprint:
        raise InputError(
            f"{folder.folder} was made with {model}, but {store.folder} with {manifest.model}: "
            "their vectors do not belong together"
        )
    if folder.modality != manifest.modality:
        raise InputError(
            f"{folder.folder} holds vectors of {folder.modality}s, {store.folder} of "
            f"{manifest.modality}s"
        )


def _check_new(
    snapshot: Snapshot, folder: EmbeddingsFolder, parts: Sequence[tuple[Vectors, pa.Table]]
) -> None:
    """Refuse what was added before: nothing else tells rows of clip-retrieval apart."""
    name = "image_path"
    if name not in snapshot.columns or not all(name in table.column_names for _, table in parts):
        return
    there = set(snapshot.table(np.flatnonzero(snapshot.live), [name])[name].to_pylist())
    if there.issuperset(path for _, table in parts for path in table[name].to_pylist()):
        raise InputError(
            f"{folder.folder}: an {name} of each of its {folder.rows:,} rows is in "
            f"{snapshot.folder} already"
        )
