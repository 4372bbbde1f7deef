"""Segments: the immutable files that hold an index's rows.

They merge as they do in a binary counter: what was added last is joined with its neighbours while
those have less than twice as many rows. So each is at least twice as long as the next one: there
are at most log2(rows) of them, and each row is copied that often at most.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlp.data.files import replace_atomically
from vlp.retrieval.background import Background
from vlp.retrieval.manifest import Manifest, Segment
from vlp.retrieval.snapshot import SEGMENTS, Snapshot, Vectors

_COMPACTED_FROM = 0.25  # share of removed rows from which a change drops them


@dataclass(frozen=True)
class SegmentWriter:
    """Writes segments.

    Args:
        folder: of the index.
        background: what hubness is measured against; without it, it is 0.
    """

    folder: Path
    background: Background | None

    def write(
        self,
        before: Snapshot,
        after: Manifest,
        live: NDArray[np.bool_],
        vectors: Vectors,
        table: pa.Table,
    ) -> tuple[Manifest, int]:
        """(the state with the segments in it, how many first rows are as they were)."""
        dead = int((~live).sum())
        if dead > _COMPACTED_FROM * (len(live) + len(vectors)):
            after = self.compact(before, after, live)
            before, kept = Snapshot(self.folder, after), 0
        else:
            after, kept = self._removed(before, after, live), len(before)
        segments = list(after.segments)
        if not len(vectors):
            return after, kept
        rows = len(vectors)
        while segments and segments[-1].rows < 2 * rows:
            rows += segments.pop().rows
        start = sum(segment.rows for segment in segments)
        joined = np.arange(start, len(before))
        hubness = self._hubness(vectors)
        tables = [before.table(joined), table] if len(joined) else [table]
        segment = self._segment(
            after.generation,
            len(segments),
            np.concatenate([*_from(before, start), vectors]),
            np.concatenate([before.hubness(joined), hubness]),
            pa.concat_tables(tables, promote_options="default"),
        )
        return replace(after, segments=(*segments, segment)), kept

    def compact(self, before: Snapshot, after: Manifest, live: NDArray[np.bool_]) -> Manifest:
        """One segment of the rows that are left; ids stay."""
        rows = np.flatnonzero(live)
        segments: tuple[Segment, ...] = ()
        if len(rows):
            vectors = np.concatenate(
                [block[live[first : first + len(block)]] for first, block in before.blocks()]
            )
            hubness, table = before.hubness(rows), before.table(rows)
            segments = (self._segment(after.generation, 0, vectors, hubness, table),)
        return replace(after, segments=segments, removed=None, removed_rows=0)

    def _removed(self, before: Snapshot, after: Manifest, live: NDArray[np.bool_]) -> Manifest:
        if np.array_equal(live, before.live):
            return after
        name = f"removed-{after.generation:06d}.npy"
        gone = before.ids[~live]
        replace_atomically(self.folder / name, lambda path: _save(path, gone))
        return replace(after, removed=name, removed_rows=len(gone))

    def _hubness(self, vectors: Vectors) -> NDArray[np.float32]:
        if self.background is None:
            return np.zeros(len(vectors), np.float32)
        return self.background.hubness(vectors)

    def _segment(
        self,
        generation: int,
        number: int,
        vectors: Vectors,
        hubness: NDArray[np.float32],
        table: pa.Table,
    ) -> Segment:
        name = f"{generation:06d}-{number}"
        stem = self.folder / SEGMENTS / name

        replace_atomically(Path(f"{stem}.vectors.npy"), lambda path: _save(path, vectors))
        replace_atomically(Path(f"{stem}.hubness.npy"), lambda path: _save(path, hubness))
        replace_atomically(Path(f"{stem}.metadata.arrow"), lambda path: write_table(path, table))
        return Segment(name=name, rows=len(vectors))


def write_table(path: Path, table: pa.Table) -> None:
    """Write an Arrow file that can be memory-mapped."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())


def _save(path: Path, array: NDArray[Any]) -> None:
    with open(path, "wb") as file:  # a name would get .npy appended
        np.save(file, array, allow_pickle=False)


def _from(snapshot: Snapshot, start: int) -> Iterator[Vectors]:
    """The blocks of all rows from one that begins a segment."""
    return (block for first, block in snapshot.blocks() if first >= start)
