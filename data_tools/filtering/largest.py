"""The largest share of all samples by a number: exactly n of them, whatever the shards."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_tools.annotate import HEAD, read_sidecar
from data_tools.filtering.kept import Verdict
from vlp.errors import InputError

# in_pool: not dropped by an earlier keep sidecar
SCHEMA = pa.schema([*HEAD, ("value", pa.float64()), ("in_pool", pa.bool_())])


@dataclass(frozen=True)
class Cut:
    """Where the largest end: at a value, and among equal ones at a key."""

    label: str
    sidecar: str  # of the values
    value: float
    last: tuple[str, str]  # (key, src_sha256) of the last one that is kept at this value
    kept: int
    pool: int

    def below(self, table: pa.Table) -> list[Verdict | None]:
        """What is not among the largest, of a shard's table of values."""
        found = []
        for row in table.to_pylist():
            value = row["value"]
            is_kept = value is not None and (
                value > self.value
                or (value == self.value and (row["key"], row["src_sha256"]) <= self.last)
            )
            shown = "null" if value is None else f"{value:.9g}"
            found.append(None if is_kept else Verdict(self.label, shown, self.label))
        return found


def find_cut(shards: Sequence[Path], sidecar: str, fraction: str, label: str) -> Cut:
    """The cut that keeps exactly int(N f) of the N samples of a pool, fewer if fewer have values.

    Of equal values, those of the smaller keys are kept. (DataComp keeps everything from the value
    at place int(N f), counted from 0, on: one more, and all that are equal to it.)

    Raises:
        InputError: samples at the cut have the same key, caption and value.
    """
    values, pool = [], 0
    for shard in shards:
        table = read_sidecar(shard, sidecar)
        pool += int(np.count_nonzero(table["in_pool"].to_numpy()))
        column = table["value"].to_numpy()
        values.append(column[~np.isnan(column)])
    every = np.concatenate([np.zeros(0), *values])
    n = int(Fraction(fraction) * pool)
    if len(every) <= n:
        return Cut(label, sidecar, -np.inf, ("", ""), len(every), pool)
    if not n:
        return Cut(label, sidecar, np.inf, ("", ""), 0, pool)
    value = float(np.partition(every, len(every) - n)[len(every) - n])
    left = n - int(np.count_nonzero(every > value))
    holders = [shard for shard, column in zip(shards, values, strict=True) if value in column]
    tied = sorted(pair for shard in holders for pair in _at(read_sidecar(shard, sidecar), value))
    if left < len(tied) and tied[left - 1] == tied[left]:
        raise InputError(
            f"{label}: several samples have the key {tied[left][0]!r}, one caption and the value "
            f"{value:.9g}; exactly {n:,} cannot be told apart, so remove the duplicates first"
        )
    return Cut(label, sidecar, value, tied[left - 1], n, pool)


def _at(table: pa.Table, value: float) -> list[tuple[str, str]]:
    rows = np.flatnonzero(table["value"].to_numpy() == value)
    chosen = table.take(rows)
    return list(zip(chosen["key"].to_pylist(), chosen["src_sha256"].to_pylist(), strict=True))
