"""How often entries are matched, with what probability each keeps a sample, and what that gives."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_tools.annotate import HEAD, read_sidecar

# entries: places in the list, ascending; null for what an earlier step dropped or has no caption
MATCHES = pa.schema([*HEAD, ("entries", pa.list_(pa.int32()))])


def count_entries(shards: Sequence[Path], sidecar: str, entries: int) -> NDArray[np.int64]:
    """[entries] Samples that each entry is in."""
    counts = np.zeros(entries, np.int64)
    for shard in shards:
        matched, _ = matches(read_sidecar(shard, sidecar))
        counts += np.bincount(matched, minlength=entries)
    return counts


def matches(table: pa.Table) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """([matches] entries of all samples one after another, [samples] how many each has)."""
    column = table["entries"].combine_chunks()
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return column.flatten().to_numpy(), lengths.astype(np.int64)


def tail_share(counts: NDArray[np.int64], limit: int) -> float:
    """The share of all matches that entries with at most `limit` of them have."""
    total = int(counts.sum())
    return int(counts[counts <= limit].sum()) / total if total else 0.0


def limit_of(counts: NDArray[np.int64], share: str) -> int:
    """The smallest limit at which the tail has at least a share of all matches.

    The tail are entries with at most `limit` matches, which keep every sample they are in.
    (MetaCLIP 2 takes the count whose cumulative share is the nearest.)
    """
    ordered = np.sort(counts)
    wanted = math.ceil(Fraction(share) * int(ordered.sum()))
    place = int(np.searchsorted(np.cumsum(ordered), wanted))
    return max(1, int(ordered[min(place, len(ordered) - 1)]))


def probabilities(counts: NDArray[np.int64], limit: int) -> NDArray[np.float64]:
    """[entries] p = t / max(c, t), with t the limit and c an entry's count (Xu et al., 2023)."""
    return limit / np.maximum(counts, limit)


def keep_probabilities(table: pa.Table, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """[samples] 1 - prod(1 - p) over the entries of each sample; 0 for a sample without any."""
    matched, lengths = matches(table)
    left = np.ones(len(lengths))
    some = lengths > 0
    if some.any():
        starts = (np.cumsum(lengths) - lengths)[some]
        left[some] = np.multiply.reduceat(1 - p[matched], starts)
    return 1 - left


@dataclass(frozen=True)
class Expected:
    """What a draw will give."""

    pool: int  # samples that can be drawn
    matched: int  # of these, with an entry
    size: float  # expected number of kept samples
    deviation: float  # its standard deviation; samples are drawn independently

    @classmethod
    def of(cls, shards: Sequence[Path], sidecar: str, p: NDArray[np.float64]) -> "Expected":
        """Over all shards."""
        pool = matched = 0
        sizes, variances = [], []
        for shard in shards:
            table = read_sidecar(shard, sidecar)
            chances = keep_probabilities(table, p)
            pool += len(table) - table["entries"].null_count
            matched += int(np.count_nonzero(matches(table)[1]))
            sizes.append(float(chances.sum()))
            variances.append(float((chances * (1 - chances)).sum()))
        return cls(pool, matched, math.fsum(sizes), math.sqrt(math.fsum(variances)))


def describe(
    entries: Sequence[str], counts: NDArray[np.int64], limit: int, expected: Expected
) -> list[str]:
    """The report, as lines."""
    head, none = int((counts > limit).sum()), int((counts == 0).sum())
    total = int(counts.sum())
    first = np.argsort(-counts, kind="stable")[:5]
    p = probabilities(counts, limit)
    frequent = ", ".join(f"{entries[i]!r} {counts[i]:,} (p {p[i]:.3g})" for i in first if counts[i])
    return [
        f"{expected.pool:,} samples = {expected.matched:,} with an entry + "
        f"{expected.pool - expected.matched:,} without",
        f"{len(entries):,} entries = {head:,} head (more than t = {limit:,} samples) + "
        f"{len(entries) - head - none:,} tail + {none:,} in no caption",
        f"tail share: {tail_share(counts, limit):.2%} of {total:,} matches",
        f"most frequent: {frequent or 'none'}",
        f"expected to be kept: {expected.size:,.1f} samples, standard deviation "
        f"{expected.deviation:,.1f}",
    ]
