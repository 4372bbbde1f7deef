"""What has changed in the data of an index: new, changed and lost pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from vlp.errors import InputError
from vlp.retrieval.embedding.sources import Item
from vlp.retrieval.snapshot import ID, Snapshot
from vlp.retrieval.store import ASIDE

INDEXED_FROM = "indexed_from"  # column: which data a row came from
Entry: TypeAlias = dict[str, "str | None"]
_KNOWN_BY = ("image_path", "mark", "sha256", INDEXED_FROM)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an update of one data set does.

    Args:
        embed: pictures that are new or have changed.
        changed: of those that have a row already, by their path, its id.
        lost: ids of rows whose pictures are gone.
        kept: how many pictures keep their row.
        waiting: how many stay without one: copies, unreadable and removed ones.
        aside: entries of pictures that stay without a row, by the schema `ASIDE`.
        known: contents (sha256) that have a row that stays, or that were removed by hand.
    """

    embed: list[Item]
    changed: dict[str, int]
    lost: list[int]
    kept: int
    waiting: int
    aside: list[Entry]
    known: frozenset[str] = field(repr=False)


def plan(
    snapshot: Snapshot, aside: pa.Table, data: str, items: Sequence[Item], *, remove_lost: bool
) -> Plan:
    """Compare data with what an index holds of them.

    Args:
        snapshot: of the index.
        aside: what it knows of pictures without a row.
        data: what rows and entries of `aside` say they are from.
        items: the pictures of the data as they are now.
        remove_lost: whether pictures that are not among the items lose their rows.

    Raises:
        InputError: all pictures are gone, as when a disk is not mounted.
    """
    rows = _rows(snapshot)
    here: dict[str, Item] = {}
    for item in items:
        here.setdefault(item.image_path, item)  # one picture, if a table names it several times
    own = {path: row for path, row in rows.items() if row.data == data}
    lost = [row for path, row in own.items() if path not in here] if remove_lost else []
    seen = {e["image_path"] for e in aside.to_pylist() if e[INDEXED_FROM] == data}
    if own and len(lost) == len(own) and not seen & here.keys():
        raise InputError(
            f"{data}: all {len(own)} pictures of the index are gone from it: is its disk there? "
            f"`vlp index remove` with --where \"{INDEXED_FROM} = '...'\" removes them on purpose"
        )
    changed = {p: row.id for p, row in rows.items() if p in here and here[p].mark != row.mark}
    leaving = {*(row.id for row in lost), *changed.values()}
    known = frozenset(
        sha256
        for sha256 in (
            *(row.sha256 for row in rows.values() if row.id not in leaving),
            *(e["sha256"] for e in aside.to_pylist() if e["problem"]),  # removed by hand
        )
        if sha256
    )
    others: list[Entry] = []
    waiting: dict[str, Entry] = {}
    for entry in aside.to_pylist():
        path = entry["image_path"]
        if entry[INDEXED_FROM] != data and path not in here:
            others.append(entry)
        elif path in here and _is_settled(entry, here[path], known):
            waiting[path] = entry
    unchanged = {path for path, row in rows.items() if path in here and row.id not in leaving}
    return Plan(
        embed=[i for p, i in here.items() if p not in unchanged and p not in waiting],
        changed=changed,
        lost=[row.id for row in lost],
        kept=len(unchanged),
        waiting=len(waiting),
        aside=[*others, *waiting.values()],
        known=known,
    )


def aside_table(entries: Sequence[Entry]) -> pa.Table:
    """Entries as a table, in the order of their paths."""
    ordered = sorted(entries, key=lambda entry: str(entry["image_path"]))
    return pa.Table.from_pylist(ordered, schema=ASIDE)


@dataclass(frozen=True)
class _Row:
    id: int
    mark: str | None
    sha256: str | None
    data: str | None


def _rows(snapshot: Snapshot) -> dict[str, _Row]:
    """The live rows that have a path, by it."""
    if "image_path" not in snapshot.columns:
        return {}
    names = [name for name in _KNOWN_BY if name in snapshot.columns]
    table = snapshot.table(np.flatnonzero(snapshot.live), [ID, *names])
    return {
        row["image_path"]: _Row(row[ID], row.get("mark"), row.get("sha256"), row.get(INDEXED_FROM))
        for row in table.to_pylist()
        if row["image_path"] is not None
    }


def _is_settled(entry: Entry, item: Item, known: frozenset[str]) -> bool:
    """Whether a picture without a row needs no further look."""
    if entry["mark"] != item.mark:
        return False
    return entry["problem"] is not None or entry["sha256"] in known
