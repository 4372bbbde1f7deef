"""What has changed in the data of an index: new, changed and lost pictures."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from vlp.errors import InputError
from vlp.retrieval.embedding.sources import Item
from vlp.retrieval.snapshot import ID, Snapshot
from vlp.retrieval.store import ASIDE

INDEXED_FROM = "indexed_from"  # column: which data a row came from
REMOVED = "removed by hand"  # in the place of a problem
Entry: TypeAlias = dict[str, "str | None"]
_ROW = (ID, "image_path", "mark", "sha256", INDEXED_FROM)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an update of one data set does.

    Args:
        embed: pictures that are new or have changed.
        changed: of those that have rows already, by their path, the rows' ids.
        lost: ids of rows whose pictures are gone.
        kept: how many pictures keep their row.
        waiting: how many stay without one: copies, unreadable and removed ones.
        aside: entries of pictures that stay without a row, by the schema `ASIDE`.
        known: contents (sha256) that get no row: those of rows that stay, and removed ones.
        removed: those that were removed by hand.
    """

    embed: list[Item]
    changed: dict[str, list[int]]
    lost: list[int]
    kept: int
    waiting: int
    aside: list[Entry]
    known: frozenset[str] = field(repr=False)
    removed: frozenset[str] = field(repr=False)


def plan(
    snapshot: Snapshot,
    aside: pa.Table,
    data: str,
    items: Sequence[Item],
    *,
    remove_lost: bool,
    later: Collection[str] = (),
) -> Plan:
    """Compare data with what an index holds of them.

    Args:
        snapshot: of the index.
        aside: what it knows of pictures without a row.
        data: what rows and entries of `aside` say they are from.
        items: the pictures of the data as they are now.
        remove_lost: whether pictures that are not among the items lose their rows.
        later: further data of the index, which keep the rows that both have: else each would
            take them from the other for ever, where one knows a caption and the other none.

    Raises:
        InputError: all pictures are gone, as when a disk is not mounted.
    """
    here: dict[str, Item] = {}
    for item in items:
        here.setdefault(item.image_path, item)  # one picture, if a table names it several times
    rows = _Rows(here, data, later, remove_lost)
    for row in _rows(snapshot):
        rows.take(*row)
    entries = aside.to_pylist()
    own = [entry for entry in entries if entry[INDEXED_FROM] == data]
    if rows.all_lost() and not any(entry["image_path"] in here for entry in own):
        raise InputError(
            f"{data}: all {len(rows.lost)} pictures of the index are gone from it: is its disk "
            f"there? `vlp index remove` with --where \"{INDEXED_FROM} = '...'\" removes them on "
            "purpose"
        )
    removed = frozenset(e["sha256"] for e in entries if e["problem"] == REMOVED)
    known = removed | rows.known
    waiting = {e["image_path"]: e for e in own if _is_settled(e, here, known)}
    others = [
        e
        for e in entries
        if e[INDEXED_FROM] != data or not (remove_lost or e["image_path"] in here)
    ]
    settled = rows.kept | waiting.keys()
    return Plan(
        embed=[item for path, item in here.items() if path not in settled],
        changed={path: ids for path, ids in rows.changed.items() if path not in rows.kept},
        lost=rows.lost,
        kept=len(rows.kept),
        waiting=len(waiting.keys() - rows.kept),
        aside=[*others, *waiting.values()],
        known=known,
        removed=removed,
    )


def aside_table(entries: Sequence[Entry]) -> pa.Table:
    """Entries as a table, the last of each picture of a data set, in the order of their paths."""
    last = {(str(e["image_path"]), str(e[INDEXED_FROM])): e for e in entries}
    return pa.Table.from_pylist([last[key] for key in sorted(last)], schema=ASIDE)


class _Rows:
    """What becomes of an index's rows."""

    def __init__(
        self, here: dict[str, Item], data: str, later: Collection[str], remove_lost: bool
    ) -> None:
        self._here, self._data, self._later = here, data, later
        self._remove_lost = remove_lost
        self._own = 0
        self.kept: set[str] = set()
        self.changed: dict[str, list[int]] = {}
        self.lost: list[int] = []
        self.known: set[str] = set()

    def take(
        self, number: int, path: str | None, mark: str | None, sha256: str | None, data: str | None
    ) -> None:
        """Look at a row."""
        self._own += data == self._data
        item = None if path is None else self._here.get(path)
        if item is None:
            if data == self._data and self._remove_lost:
                self.lost.append(number)
                return
        elif item.mark == mark or data in self._later:
            self.kept.add(item.image_path)
        else:
            self.changed.setdefault(item.image_path, []).append(number)
            return
        if sha256:
            self.known.add(sha256)

    def all_lost(self) -> bool:
        """Whether the data have rows, but none any more."""
        return 0 < len(self.lost) == self._own


def _rows(snapshot: Snapshot) -> Iterator[tuple[Any, ...]]:
    """The live rows by the columns `_ROW`; None where the index has no such column."""
    names = [name for name in _ROW if name in snapshot.columns]
    table = snapshot.table(np.flatnonzero(snapshot.live), names)
    columns = (
        table.column(name).to_pylist() if name in names else [None] * len(table) for name in _ROW
    )
    return zip(*columns, strict=True)


def _is_settled(entry: Entry, here: dict[str, Item], known: Collection[str]) -> bool:
    """Whether a picture without a row needs no further look."""
    item = here.get(str(entry["image_path"]))
    if item is None or entry["mark"] != item.mark:
        return False
    return entry["problem"] is not None or entry["sha256"] in known
