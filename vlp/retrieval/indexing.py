"""Pictures into an index: the first time, more of them, and what has changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from vlp.errors import InputError
from vlp.progress import bar
from vlp.retrieval.backends.base import Say
from vlp.retrieval.embedding.columns import OWN, schema_of
from vlp.retrieval.embedding.copies import find_copies, without_copies
from vlp.retrieval.embedding.decoding import default_workers
from vlp.retrieval.embedding.embed import Embedded, EmbedOptions, embed_distinct
from vlp.retrieval.embedding.items import DataOptions
from vlp.retrieval.followed_data import (
    Listing,
    copy_entry,
    entry,
    prepared,
    problem_entries,
    with_source,
)
from vlp.retrieval.retriever import Retriever
from vlp.retrieval.snapshot import Snapshot
from vlp.retrieval.store import Addition, Sources, Store
from vlp.retrieval.updating import INDEXED_FROM, REMOVED, Entry, Plan, aside_table, plan

_AT_ONCE = 10_000  # pictures between two commits: so many are embedded again after a kill


@dataclass(frozen=True, kw_only=True)
class Updated:
    """What an update did.

    Args:
        added: rows, those of changed pictures included.
        changed: pictures whose row was replaced.
        removed: rows of pictures that are gone.
        kept: pictures that are as they were.
        waiting: pictures that stay without a row: copies, unreadable and removed ones.
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
    listing: Listing,
    *,
    how: EmbedOptions,
    remove_lost: bool = False,
    say: Say = print,
) -> Updated:
    """Bring an index up to date with data: what is new or has changed is embedded.

    Every 10,000 pictures the index is as if those before were all: killed, the same call goes on.

    Args:
        retriever: the index.
        listing: of the data.
        how: the pictures are embedded.
        remove_lost: whether pictures that the data no longer have lose their rows.
        say: prints a line for people.

    Raises:
        InputError: data that cannot be read, or that are gone altogether; an index of texts.
        RunError: another process is changing the index.
    """
    store = retriever.store
    if retriever.manifest.modality != "image":
        raise InputError(
            f"{store.folder} is an index of texts, to which embeddings are added, not pictures"
        )
    place = listing.place
    with store.exclusive():  # from the listing on: nobody else's rows are taken for lost
        items, snapshot = listing.items, store.snapshot()
        sources = with_source(snapshot.manifest.sources, place, listing.options)
        names = [str(source["data"]) for source in sources]
        todo = plan(
            snapshot,
            store.aside(snapshot.manifest),
            place,
            items,
            remove_lost=remove_lost,
            later=names[names.index(place) + 1 :],
        )
        update = _Update(retriever, todo, sources, say)
        update.run(listing, how)
    return replace(
        update.done,
        changed=len(todo.changed),
        removed=len(todo.lost),
        kept=todo.kept,
        waiting=todo.waiting + update.done.waiting,
    )


def _schema_in(snapshot: Snapshot, schema: pa.Schema) -> pa.Schema:
    """The columns with the index's types for them, where those hold the values as well.

    Raises:
        InputError: a type that does not.
    """
    for place, column in enumerate(schema):
        kind = snapshot.columns.get(column.name, column.type)
        if kind == column.type or pa.types.is_null(kind):
            continue
        as_text = pa.types.is_string(kind) and column.name not in OWN
        if not as_text and not (pa.types.is_float64(kind) and pa.types.is_integer(column.type)):
            raise InputError(
                f"the column {column.name!r} holds {column.type} now, but {kind} in "
                f"{snapshot.folder}: make the index anew"
            )
        schema = schema.set(place, column.with_type(kind))
    return schema


class _Update:
    """Commits parts of a plan."""

    def __init__(
        self,
        retriever: Retriever,
        todo: Plan,
        sources: Sequence[Mapping[str, Any]],
        say: Say,
    ) -> None:
        self.retriever = retriever
        self.todo = todo
        self.sources = sources
        self.say = say
        self.known = set(todo.known)
        self.aside: list[Entry] = list(todo.aside)
        self.done = Updated()

    def run(self, listing: Listing, how: EmbedOptions) -> None:
        """Do all of it."""
        todo = self.todo
        if not todo.embed:
            self._commit([], todo.lost)
            return
        encoder = self.retriever.encoder  # before any change, since it may be gone
        copies = find_copies(todo.embed, how.workers or default_workers())
        distinct = without_copies(todo.embed, copies)
        # of all, not only of what is new: its values may be of one type by chance
        schema = schema_of([*listing.items, *distinct.items])
        schema = _schema_in(self.retriever.store.snapshot(), schema)
        if todo.lost:
            self._commit([], todo.lost)
        with bar("embedding", "pictures", len(todo.embed)) as progress:
            for at in range(0, len(distinct.items), _AT_ONCE):
                part = distinct.part(at, at + _AT_ONCE)
                progress.update(len(part.copies))
                found = embed_distinct(encoder, part, how, schema, progress.update)
                paths = [i.image_path for i in (*part.items, *(c.item for c in part.copies))]
                self._take(
                    found, listing.place, [n for p in paths for n in todo.changed.get(p, ())]
                )

    def _take(self, found: Embedded, data: str, remove: Sequence[int]) -> None:
        """Commit a part of the pictures; what has the bytes of a known one gets no row."""
        contents = found.table.column("sha256").to_pylist()
        fresh = np.array([sha256 not in self.known for sha256 in contents], np.bool_)
        repeated = found.table.filter(pa.array(~fresh)).select(["image_path", "mark", "sha256"])
        copies = [
            *(tuple(row.values()) for row in repeated.to_pylist()),
            *((copy.item.image_path, copy.item.mark, copy.sha256) for copy in found.copies),
        ]
        removed = sum(sha256 in self.todo.removed for _, _, sha256 in copies)
        self.aside += [copy_entry(p, m, data, sha, self.todo.removed) for p, m, sha in copies]
        self.aside += problem_entries(found.problems, data)
        table = found.table.filter(pa.array(fresh))
        rows = Addition(vectors=found.vectors[fresh], table=prepared(table, data))
        self._commit([rows], remove)
        self.known.update(contents)
        problems = ((bad.item.image_path, bad.problem) for bad in found.problems)
        self.done = replace(
            self.done,
            added=self.done.added + len(table),
            waiting=self.done.waiting + removed,
            copies=self.done.copies + len(copies) - removed,
            problems=(*self.done.problems, *problems),
        )

    def _commit(self, add: Sequence[Addition], remove: Sequence[int]) -> None:
        """Commit rows together with what is known of pictures without one."""
        sources = Sources(data=self.sources, aside=aside_table(self.aside))
        self.retriever.store.change(add=add, remove=remove, sources=sources, say=self.say)


def refresh(retriever: Retriever, how: EmbedOptions, say: Say = print) -> Updated:
    """Look through all data of an index for what is new, has changed or is gone.

    What was added last comes first: a picture that it lost may still be in data before.

    Raises:
        InputError: the index knows no data, or some cannot be read; nothing of it is removed then.
        RunError: another process is changing the index.
    """
    total = Updated()
    with retriever.store.exclusive():
        sources = retriever.manifest.sources
        if not sources:
            raise InputError(
                f"{retriever.store.folder} knows no data to look through: it was made from "
                "embeddings or in Python; `vlp index add` names some"
            )
        for source in reversed(sources):
            listing = Listing(source["data"], DataOptions(**source["options"]), say)
            one = add_pictures(retriever, listing, how=how, remove_lost=True, say=say)
            sums = {name: getattr(total, name) + getattr(one, name) for name in vars(total)}
            total = Updated(**sums)
    return total


def remove_rows(store: Store, ids: Sequence[int]) -> None:
    """Remove rows for good: `refresh` does not bring their pictures back until they change.

    Raises:
        InputError: an id is not in the index; nothing is removed then.
        RunError: another process is changing the index.
    """
    with store.exclusive():
        snapshot = store.snapshot()
        rows = snapshot.rows_of(ids)
        aside = store.aside(snapshot.manifest).to_pylist()
        names = ["image_path", "mark", INDEXED_FROM, "sha256"]
        if set(names) <= snapshot.columns.keys():
            for path, mark, data, sha256 in zip(*_columns(snapshot, rows, names), strict=True):
                if None not in (path, mark, data, sha256):
                    aside.append(entry(path, mark, data, sha256=sha256, problem=REMOVED))
        sources = Sources(data=snapshot.manifest.sources, aside=aside_table(aside))
        store.change(remove=ids, sources=sources)


def _columns(snapshot: Snapshot, rows: Any, names: Sequence[str]) -> list[list[Any]]:  # noqa: ANN401
    table = snapshot.table(rows, names)
    return [table.column(name).to_pylist() for name in names]
