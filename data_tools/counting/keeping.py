"""From accepted captions to the sidecar `counts`: one row a sample, at most so many a number."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_tools.annotate import HEAD, Made, read_sidecar
from data_tools.counting.mining import first_accepted
from data_tools.lots import lot

SCHEMA = pa.schema(
    [
        *HEAD,
        ("count", pa.int32()),
        ("noun", pa.string()),
        ("counterfactual", pa.string()),  # of the source caption; null where another one counts
        ("caption", pa.int32()),  # which caption of the sample counts
        ("start", pa.int32()),  # of the number word in that caption, in characters
        ("end", pa.int32()),
        ("rule", pa.string()),  # class, any-class, prompted, unverified
        ("classes", pa.list_(pa.string())),
        ("count_low", pa.int32()),
        ("count_high", pa.int32()),
    ]
)
Ticket = tuple[float, str, str]  # a sample's lot, key and src_sha256


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """Which accepted samples are kept.

    Args:
        mined: name of the sidecar with every caption that has a number.
        last: of each number, the highest ticket that is kept; empty keeps all.
        seed: of the lots.
    """

    mined: str
    last: Mapping[int, Ticket]
    seed: int

    def keeps(self, row: Mapping[str, Any]) -> bool:
        """Whether the sample of an accepted caption is kept."""
        return row["count"] not in self.last or ticket(row, self.seed) <= self.last[row["count"]]


def ticket(row: Mapping[str, Any], seed: int) -> Ticket:
    """What decides whether a sample is among those that are kept of its number."""
    key, digest = row["key"], row["src_sha256"]
    return lot(seed, "balance", key, digest), key, digest


def last_tickets(
    shards: Iterable[Path], mined: str, most: int | None, seed: int
) -> dict[int, Ticket]:
    """Of each number with more than `most` samples, the last ticket that is kept."""
    if most is None:
        return {}
    tickets: dict[int, list[Ticket]] = defaultdict(list)
    for shard in shards:
        for row in first_accepted(iter(read_sidecar(shard, mined).to_pylist())):
            tickets[row["count"]].append(ticket(row, seed))
    return {
        number: sorted(own)[most - 1] for number, own in sorted(tickets.items()) if len(own) > most
    }


def keep_shard(shard: Path, keeping: Keeping) -> Made:
    """The sidecar `counts` of a shard."""
    rows: list[Mapping[str, Any]] = []
    counts: Counter[str] = Counter()
    for row in first_accepted(iter(read_sidecar(shard, keeping.mined).to_pylist())):
        kept = keeping.keeps(row)
        counts["kept" if kept else "over the limit"] += 1
        if kept:
            # the loader takes it for the counterfactual of the source caption
            wrong = row["counterfactual"] if row["caption"] == 0 else None
            rows.append({name: row[name] for name in SCHEMA.names} | {"counterfactual": wrong})
    return Made(rows, counts)


def ledger_rows(shard: Path, keeping: Keeping) -> Sequence[dict[str, Any]]:
    """Every caption of a shard that has a number and was left out, with the reason."""
    mined = read_sidecar(shard, keeping.mined).to_pylist()
    over = {
        (row["key"], row["src_sha256"], row["caption"])
        for row in first_accepted(iter(mined))
        if not keeping.keeps(row)
    }
    rows = []
    for row in mined:
        if (row["key"], row["src_sha256"], row["caption"]) in over:
            row |= {"outcome": "over the limit", "reason": "balance"}
        if row["reason"] is not None:
            rows.append({"shard": str(shard), **row})
    return rows
