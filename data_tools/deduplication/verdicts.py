"""What becomes of every sample: the `keep` sidecars and the list of groups."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_tools.annotate import Made
from data_tools.deduplication.pool import Pool
from data_tools.samples import open_index
from vlp.data.files import encode
from vlp.data.leftovers import replace_tidily

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Rule:
    """A reason to drop samples, with what each was dropped for."""

    name: str
    positions: np.ndarray  # [n], rising
    keepers: np.ndarray  # [n], positions, or numbers of `names` where these are given
    distances: np.ndarray  # [n]
    names: Sequence[str] | None = None  # of evaluation samples

    @classmethod
    def of(
        cls,
        name: str,
        keepers: np.ndarray,
        distances: np.ndarray,
        left: np.ndarray,
        names: Sequence[str] | None = None,
    ) -> "Rule":
        """Drop the samples that are left and have a keeper; they are left no more.

        Args:
            keepers: [N], -1 for none.
            distances: [N].
            left: [N] bool, changed in place.
        """
        positions = np.flatnonzero(left & (keepers >= 0))
        left[positions] = False
        return cls(name, positions, keepers[positions], distances[positions], names)


@dataclass(frozen=True)
class Verdicts:
    """Every dropped sample with its rule; a sample is in at most one."""

    pool: Pool
    unreadable: np.ndarray  # positions, rising
    rules: Sequence[Rule]
    keys: dict[int, str] = field(default_factory=dict)  # of the positions that are named

    def __post_init__(self) -> None:
        named = [self.pool_positions(rule) for rule in self.rules]
        wanted = np.unique(np.concatenate([*named, np.zeros(0, np.int64)]))
        for number, shard in enumerate(self.pool.shards):
            span = self.pool.span(number)
            own = wanted[np.searchsorted(wanted, span.start) : np.searchsorted(wanted, span.stop)]
            if len(own):
                keys = open_index(shard).table["key"]
                rows = (own - span.start).tolist()
                self.keys.update(zip(own.tolist(), keys.take(rows).to_pylist(), strict=True))

    @cached_property
    def numbers(self) -> dict[Path, int]:
        """The number of each shard."""
        return {shard: number for number, shard in enumerate(self.pool.shards)}

    @staticmethod
    def pool_positions(rule: Rule) -> np.ndarray:
        """Positions of the samples that a rule names."""
        if rule.names is not None:
            return rule.positions
        return np.concatenate([rule.positions, rule.keepers])

    def keep_rows(self, shard: Path) -> Made:
        """The `keep` sidecar of a shard."""
        span = self.pool.span(self.numbers[shard])
        table = open_index(shard).table.select(["key", "src_sha256"])
        names: list[str | None] = [None] * len(table)
        values: list[str | None] = [None] * len(table)
        for position in self._of(self.unreadable, span):
            names[self.unreadable[position] - span.start] = UNREADABLE
        for rule in self.rules:
            for place in self._of(rule.positions, span):
                row = int(rule.positions[place]) - span.start
                names[row], values[row] = rule.name, self._keeper(rule, int(rule.keepers[place]))
        counts = Counter(name or "kept" for name in names)
        keep = pa.array([name is None for name in names], pa.bool_())
        table = table.append_column("keep", keep)
        table = table.append_column("rule", pa.array(names, pa.string()))
        return Made(table.append_column("value", pa.array(values, pa.string())), counts)

    def summary(self) -> str:
        """How many groups there are, and the largest."""
        groups, largest, keeper = 0, 0, ""
        for rule in self.rules:
            keepers, counts = np.unique(rule.keepers, return_counts=True)
            groups += len(keepers)
            if counts.max(initial=0) > largest:
                largest = int(counts.max())
                keeper = self._keeper(rule, int(keepers[counts.argmax()]))
        return f"{groups:,} groups; the largest: {largest:,} dropped for {keeper or 'none'}"

    def write_groups(self, path: Path) -> None:
        """One JSON object a line: the keeper and what was dropped for it."""
        replace_tidily(path, partial(self._fill, groups=self.groups()))

    def groups(self) -> Iterator[dict[str, Any]]:
        """Groups, rule by rule, in the order of their keepers."""
        number = 0
        for rule in self.rules:
            order = np.lexsort((rule.positions, rule.keepers))
            edges = np.flatnonzero(np.diff(rule.keepers[order])) + 1
            for members in np.split(order, edges) if len(order) else []:
                yield {
                    "group": number,
                    "rule": rule.name,
                    "keeper": self._named(rule, int(rule.keepers[members[0]])),
                    "members": [
                        {
                            **self._sample(int(rule.positions[member])),
                            "distance": round(float(rule.distances[member]), 6),
                        }
                        for member in members
                    ],
                }
                number += 1

    @staticmethod
    def _fill(path: Path, groups: Iterator[dict[str, Any]]) -> None:
        with open(path, "wb") as file:
            for group in groups:
                file.write(encode(json.dumps(group, ensure_ascii=False)) + b"\n")

    @staticmethod
    def _of(positions: np.ndarray, span: slice) -> range:
        """Places in rising positions of those in a span."""
        return range(*np.searchsorted(positions, [span.start, span.stop]).tolist())

    def _keeper(self, rule: Rule, keeper: int) -> str:
        return self.keys[keeper] if rule.names is None else rule.names[keeper]

    def _named(self, rule: Rule, keeper: int) -> dict[str, Any]:
        return self._sample(keeper) if rule.names is None else {"evaluation": rule.names[keeper]}

    def _sample(self, position: int) -> dict[str, Any]:
        shard, _ = self.pool.place(position)
        return {"shard": str(self.pool.shards[shard]), "key": self.keys[position]}
