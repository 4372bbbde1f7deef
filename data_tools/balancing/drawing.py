"""The two passes of `balance` over a shard: which entries a sample has, and whether it is drawn."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_tools.annotate import Made, read_sidecar
from data_tools.balancing.counts import MATCHES, keep_probabilities
from data_tools.balancing.entries import matcher, read_entries
from data_tools.filtering.kept import Verdict, dropped_before, made
from data_tools.lots import lot
from data_tools.samples import TEXTS, open_index, read_samples
from vlp.data.source import RawSample, UnusableSampleError

NO_ENTRY, NO_CAPTION = "no entry", "no caption"


@dataclass(frozen=True)
class Matching:
    """How the entries of samples are found."""

    metadata: Path
    sha256: str  # of its entries
    ignore_case: bool
    captions: Literal["first", "all"]
    after: str | None

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the matches, besides the shards."""
        return {
            "metadata_sha256": self.sha256,
            "ignore_case": self.ignore_case,
            "captions": self.captions,
            "after": self.after,
        }

    @property
    def inputs(self) -> tuple[str, ...]:
        """The sidecars that are read."""
        return (self.after,) if self.after else ()


def match_shard(shard: Path, matching: Matching) -> Made:
    """The entries of every sample that an earlier step has not dropped."""
    find = matcher(matching.metadata, matching.sha256, matching.ignore_case)
    extensions = TEXTS if matching.captions == "all" else TEXTS[:1]
    found: list[list[int] | None] = []
    samples = read_samples(shard, extensions)
    for sample, dropped in zip(samples, dropped_before(shard, matching.after), strict=True):
        texts = [] if dropped else _texts(sample, matching.captions)
        found.append(sorted(set().union(*map(find, texts))) if texts else None)
    index = open_index(shard).table
    entries = pa.array(found, MATCHES.field("entries").type)
    return Made(pa.table([index["key"], index["src_sha256"], entries], MATCHES.names))


def _texts(sample: RawSample, captions: Literal["first", "all"]) -> list[str]:
    try:
        return sample.captions() if captions == "all" else [sample.caption]
    except UnusableSampleError:
        return []


@dataclass(frozen=True)
class Drawing:
    """How samples are drawn."""

    matching: Matching
    sidecar: str  # of the matches
    probabilities: NDArray[np.float64]  # [entries]
    limit: int
    seed: int

    @property
    def rule(self) -> str:
        """That drops a sample whose lots all fail."""
        return f"balance t={self.limit}"

    @property
    def groups(self) -> list[str]:
        """What samples are counted under that are dropped."""
        return [*self.matching.inputs, NO_CAPTION, NO_ENTRY, self.rule]


def draw_shard(shard: Path, drawing: Drawing) -> Made:
    """The keep sidecar: a sample is kept if the lot of any of its entries is below that entry's p.

    Lots are of (seed, key, entry), so neither the order of samples nor that of entries matters.
    """
    entries = read_entries(drawing.matching.metadata, drawing.matching.ignore_case).texts
    table = read_sidecar(shard, drawing.sidecar)
    chances = keep_probabilities(table, drawing.probabilities).tolist()
    verdicts = dropped_before(shard, drawing.matching.after)
    rows = zip(table["key"].to_pylist(), table["entries"].to_pylist(), chances, strict=True)
    for place, (key, own, chance) in enumerate(rows):
        if verdicts[place] is not None:
            continue
        if not own:
            rule = NO_CAPTION if own is None else NO_ENTRY
            verdicts[place] = Verdict(rule, "null" if own is None else "0", rule)
        elif not is_drawn(key, [entries[i] for i in own], drawing.probabilities[own], drawing.seed):
            verdicts[place] = Verdict(drawing.rule, f"P = {chance:.4g}", drawing.rule)
    return made(shard, verdicts)


def is_drawn(
    key: str, entries: Iterable[str], probabilities: NDArray[np.float64], seed: int
) -> bool:
    """Whether the lot of any entry falls below its probability."""
    if probabilities.max(initial=0.0) >= 1:
        return True
    pairs = zip(entries, probabilities.tolist(), strict=True)
    return any(lot(seed, "balance", key, entry) < p for entry, p in pairs)
