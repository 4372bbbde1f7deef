"""Pictures and embeddings into an index: the first time, more of them, and what has changed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vlp.errors import InputError
from vlp.progress import bar
from vlp.retrieval.backends.base import Say
from vlp.retrieval.embedding.columns import schema_of
from vlp.retrieval.embedding.copies import find_copies, without_copies
from vlp.retrieval.embedding.decoding import default_workers
from vlp.retrieval.embedding.embed import Embedded, EmbedOptions, embed_distinct
from vlp.retrieval.embedding.items import DataOptions, Item
from vlp.retrieval.embedding.reader import EmbeddingsFolder
from vlp.retrieval.embedding.sources import open_data
from vlp.retrieval.manifest import ModelMark
from vlp.retrieval.retriever import Retriever
from vlp.retrieval.snapshot import ID
from vlp.retrieval.store import Addition, Sources, Store
from vlp.retrieval.updating import INDEXED_FROM, Entry, Plan, aside_table, plan

_AT_ONCE = 10_000  # pictures between two commits: so many are embedded again after a kill
_COPIES, _COPY_MARKS = "copies", "copy_marks"


@dataclass(frozen=True, kw_only=True)
class Updated:
    """What an update did.

    Args:
        added: rows, those of changed pictures included.
        changed: pictures whose row was replaced.
        removed: rows of pictures that are gone.
        kept: pictures that are as they were.
        waiting: pictures that are as they were, without a row: copies, unreadable and removed ones.
        copies: pictures with the bytes of one that has a row.
        problems: (path, why) of pictures that have none.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    kept: int = 0
    waiting: int = 0
    copies: int = 0
    problems: tuple[tuple[str, str], ...] = ()


def add_pictures(
    retriever: Retriever,
    data: str,
    options: DataOptions,
    *,
    how: EmbedOptions,
    remove_lost: bool = False,
    say: Say = print,
) -> Updated:
    """Bring an index up to date with data: what is new or has changed is embedded.

    Every 10,000 pictures the index is as if those before were all: killed, the same call goes on.

    Args:
        retriever: the index.
        data: what `open_data` takes.
        options: how it is read.
        how: the pictures are embedded.
        remove_lost: whether pictures that the data no longer have lose their rows.
        say: prints a line for people.

    Raises:
        InputError: data that cannot be read, or that are gone altogether.
    """
    place = _absolute(data)
    items = open_data(place, options, say)
    store, snapshot = retriever.store, retriever.view.snapshot
    todo = plan(snapshot, store.aside(snapshot.manifest), place, items, remove_lost=remove_lost)
    sources = _with_source(snapshot.manifest.sources, place, options)
    schema = schema_of(items)  # of all, so that every part has the same types
    update = _Update(retriever, todo, place, sources, say)
    if todo.lost or not todo.embed:
        update.commit([], todo.lost)
    with bar("embedding", "pictures", len(todo.embed)) as progress:
        for at in range(0, len(todo.embed), _AT_ONCE):
            part = todo.embed[at : at + _AT_ONCE]
            found = _embedded(retriever, part, how, schema, progress.update)
            replaced = [todo.changed[i.image_path] for i in part if i.image_path in todo.changed]
            update.take(found, replaced)
    return replace(
        update.done,
        changed=len(todo.changed),
        removed=len(todo.lost),
        kept=todo.kept,
        waiting=todo.waiting,
    )


def _embedded(
    retriever: Retriever,
    items: Sequence[Item],
    how: EmbedOptions,
    schema: pa.Schema,
    progress: Callable[[int], object],
) -> Embedded:
    distinct = without_copies(items, find_copies(items, how.workers or default_workers()))
    progress(len(distinct.copies))
    return embed_distinct(retriever.encoder, distinct, how, schema, progress)


class _Update:
    """Commits parts of a plan."""

    def __init__(
        self,
        retriever: Retriever,
        todo: Plan,
        data: str,
        sources: Sequence[Mapping[str, Any]],
        say: Say,
    ) -> None:
        self.store = retriever.store
        self.data = data
        self.sources = sources
        self.say = say
        self.known = set(todo.known)
        self.aside: list[Entry] = list(todo.aside)
        self.done = Updated()

    def take(self, found: Embedded, remove: Sequence[int]) -> None:
        """Commit a part of the pictures; what has the bytes of a known one gets no row."""
        fresh = [sha256 not in self.known for sha256 in found.table.column("sha256").to_pylist()]
        repeated = found.table.filter(pa.array([not new for new in fresh], pa.bool_()))
        copies = [
            *((row["image_path"], row["mark"], row["sha256"]) for row in repeated.to_pylist()),
            *((copy.item.image_path, copy.item.mark, copy.sha256) for copy in found.copies),
        ]
        self.aside += [entry(path, mark, self.data, sha256=sha) for path, mark, sha in copies]
        self.aside += [
            entry(p.item.image_path, p.item.mark, self.data, problem=p.problem)
            for p in found.problems
        ]
        mask = np.array(fresh, np.bool_)
        table = found.table.filter(pa.array(fresh, pa.bool_()))
        rows = Addition(vectors=found.vectors[mask], table=prepared(table, self.data))
        self.commit([rows], remove)
        self.known.update(table.column("sha256").to_pylist())
        self.done = replace(
            self.done,
            added=self.done.added + len(table),
            copies=self.done.copies + len(copies),
            problems=(
                *self.done.problems,
                *((p.item.image_path, p.problem) for p in found.problems),
            ),
        )

    def commit(self, add: Sequence[Addition], remove: Sequence[int]) -> None:
        """Commit rows together with what is known of pictures without one."""
        sources = Sources(data=self.sources, aside=aside_table(self.aside))
        self.store.change(add=add, remove=remove, sources=sources, say=self.say)


def refresh(retriever: Retriever, how: EmbedOptions, say: Say = print) -> Updated:
    """Look through all data of an index for what is new, has changed or is gone.

    Raises:
        InputError: the index knows no data, or some cannot be read; nothing of it is removed then.
    """
    sources = retriever.manifest.sources
    if not sources:
        raise InputError(
            f"{retriever.store.folder} knows no data to look through: it was made from embeddings "
            "or in Python; `vlp index add` names some"
        )
    total = Updated()
    for source in sources:
        options = DataOptions(**source["options"])
        one = add_pictures(retriever, source["data"], options, how=how, remove_lost=True, say=say)
        total = Updated(**{name: getattr(total, name) + getattr(one, name) for name in vars(total)})
    return total


def remove_rows(store: Store, ids: Sequence[int]) -> None:
    """Remove rows for good: `refresh` does not bring their pictures back until they change.

    Raises:
        InputError: an id is not in the index; nothing is removed then.
    """
    snapshot = store.snapshot()
    rows = snapshot.rows_of(ids)
    aside = store.aside(snapshot.manifest).to_pylist()
    names = ["image_path", "mark", INDEXED_FROM, "sha256"]
    if set(names) <= snapshot.columns.keys():
        for row in snapshot.table(rows, names).to_pylist():
            if None not in row.values():
                path, mark, data, sha256 = (row[name] for name in names)
                told = "removed by hand"
                aside.append(entry(path, mark, data, sha256=sha256, problem=told))
    sources = Sources(data=snapshot.manifest.sources, aside=aside_table(aside))
    store.change(remove=ids, sources=sources)


def add_embeddings(store: Store, folder: EmbeddingsFolder, say: Say = print) -> Updated:
    """Add what `vlp embed` or clip-retrieval wrote, in one change.

    Raises:
        InputError: another model, another length or another modality than the index's.
    """
    snapshot = store.snapshot()
    manifest = snapshot.manifest
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
    additions, aside = [], store.aside(manifest).to_pylist()
    copies = 0
    place = None if folder.data is None else _absolute(folder.data)
    for vectors, table in folder.partitions():
        if place is not None and _COPIES in table.schema.names:
            own = copies_aside(table, place)
            copies += len(own)
            aside += own
        additions.append(Addition(vectors=vectors, table=prepared(table, place)))
    sources = list(manifest.sources)
    if place is not None:
        sources = _with_source(sources, place, folder.options)
    ids = store.change(
        add=additions, sources=Sources(data=sources, aside=aside_table(aside)), say=say
    )
    return Updated(added=len(ids), copies=copies)


def copies_aside(table: pa.Table, data: str) -> list[Entry]:
    """Entries for the copies that the rows of an embeddings table name."""
    names = ["sha256", _COPIES, _COPY_MARKS]
    return [
        entry(path, mark, data, sha256=row["sha256"])
        for row in table.select(names).to_pylist()
        for path, mark in zip(row[_COPIES] or (), row[_COPY_MARKS] or (), strict=True)
    ]


def entry(
    path: str, mark: str, data: str, *, sha256: str | None = None, problem: str | None = None
) -> Entry:
    """One row of `ASIDE`."""
    return {
        "image_path": path,
        "mark": mark,
        "sha256": sha256,
        "problem": problem,
        INDEXED_FROM: data,
    }


def prepared(table: pa.Table, data: str | None) -> pa.Table:
    """Metadata as an index holds them.

    What is said of copies moves aside, where it stays true when they change.

    Raises:
        InputError: a column has a name that the index needs.
    """
    table = table.drop_columns([n for n in (_COPIES, _COPY_MARKS) if n in table.schema.names])
    for name in (ID, INDEXED_FROM):
        if name in table.schema.names:
            raise InputError(f"the column {name!r} is the index's own; rename that of the data")
    if data is None:
        return table
    return table.append_column(INDEXED_FROM, pa.array([data] * len(table), pa.string()))


def _with_source(
    sources: Sequence[Mapping[str, Any]], data: str, options: DataOptions
) -> list[dict[str, Any]]:
    others = [dict(source) for source in sources if source["data"] != data]
    return [*others, {"data": data, "options": asdict(options)}]


def _absolute(data: str) -> str:
    """A path, or a pattern of paths, that means the same from any folder."""
    return str(Path(data).expanduser().absolute())
