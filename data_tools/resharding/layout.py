"""Which samples of the inputs are written, in which order, and why the others are not.

A sample is known by its place: its number in the inputs, one after another in their order. All that
is held of a sample are some 50 bytes of numbers.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_tools.resharding.ids import IdList, Ids, is_among
from data_tools.resharding.survey import Surveyed
from data_tools.samples import open_index
from vlp.errors import InputError

Places = NDArray[np.int64]
_NAMED = 5  # keys in a message


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which samples are asked for, and how they are put in order."""

    keep: tuple[str, ...] = ()
    ids: IdList | None = None
    drop_ids: IdList | None = None
    limit: int | None = None
    shuffle: bool = False


@dataclass(frozen=True)
class Layout:
    """The plan: output shard i holds `order[i * size : (i + 1) * size]`."""

    starts: Places  # [inputs + 1] the place of the first sample of each input
    order: Places  # [kept] places
    reason: NDArray[np.int8]  # [samples] which of `reasons` drops it, -1 where it is kept
    reasons: tuple[str, ...]
    size: int  # samples of an output shard
    not_found: dict[str, list[str]] = field(default_factory=dict)  # by option: what no sample has

    @property
    def shards(self) -> int:
        """How many are written."""
        return -(-len(self.order) // self.size)

    def of_shard(self, number: int) -> Places:
        """The places of an output shard, in its order."""
        return self.order[number * self.size : (number + 1) * self.size]


def lay_out(inputs: Sequence[Surveyed], selection: Selection, size: int) -> Layout:
    """Decide for every sample.

    Raises:
        InputError: a list names nothing that is there, or nothing is left.
    """
    keys = np.concatenate([one.keys for one in inputs])
    uids = np.concatenate([one.uids for one in inputs])
    reason = np.concatenate([one.dropped_by for one in inputs])
    reasons = list(selection.keep)
    not_found: dict[str, list[str]] = {}
    for listed, name, drops_listed in (
        (selection.ids, "not in --ids", False),
        (selection.drop_ids, "in --drop-ids", True),
    ):
        if listed is not None:
            own = uids if listed.is_uids else keys
            not_found[listed.option] = _not_found(listed, own)
            wrong = is_among(own, listed.ids) == drops_listed
            reason[wrong & (reason < 0)] = len(reasons)
            reasons.append(name)
    order = _order(inputs, reason, selection)
    if selection.limit is not None and len(order) > selection.limit:
        reason[order[selection.limit :]] = len(reasons)
        order = order[: selection.limit]
        reasons.append("over --limit")
    if not len(order):
        parts = Counter(reasons[place] for place in reason.tolist())
        told = ", ".join(f"{count:,} by {name}" for name, count in parts.items())
        if not told:
            raise InputError(f"the {len(inputs):,} input shards hold no sample")
        raise InputError(f"not one of {len(reason):,} samples is left: dropped {told}")
    starts = np.cumsum([0, *(len(one.keys) for one in inputs)])
    return Layout(starts, order, reason, tuple(reasons), size, not_found)


def _order(inputs: Sequence[Surveyed], reason: NDArray[np.int8], selection: Selection) -> Places:
    kept = np.flatnonzero(reason < 0)
    if not selection.shuffle:
        return kept
    lots = np.concatenate([one.lots for one in inputs])[kept]
    # equal lots are of equal keys and captions, and stay in the order of the inputs
    return kept[np.argsort(lots, kind="stable")]


def _not_found(listed: IdList, own: Ids) -> list[str]:
    """What a list names and no sample has.

    Raises:
        InputError: that is all of it.
    """
    there = is_among(listed.ids, np.sort(own))
    if not there.any():
        what = "uid" if listed.is_uids else "key"
        raise InputError(
            f"{listed.option}: none of its {len(there):,} {what}s is one of the {len(own):,} "
            f"samples; the first is {listed.names[0]!r}"
        )
    return sorted(name for name, found in zip(listed.names, there, strict=True) if not found)


def check_unique(shards: Sequence[Path], inputs: Sequence[Surveyed]) -> None:
    """Refuse a key that two samples have.

    Raises:
        InputError: naming the first of them, with their shards.
    """
    keys = np.concatenate([one.keys for one in inputs])
    unique, counts = np.unique(keys, return_counts=True)
    repeated = unique[counts > 1]
    if not len(repeated):
        return
    first = repeated[:_NAMED]
    found: dict[str, list[str]] = {}
    for shard, one in zip(shards, inputs, strict=True):
        rows = np.flatnonzero(is_among(one.keys, first))
        if len(rows):
            for key in open_index(shard).table["key"].take(rows).to_pylist():
                found.setdefault(key, []).append(str(shard))
    told = "; ".join(f"{key!r} in {' and '.join(names)}" for key, names in sorted(found.items()))
    more = ", ..." if len(repeated) > _NAMED else ""
    raise InputError(
        f"{len(repeated):,} keys are of more than one sample: {told}{more}; give --rekey for new "
        "keys, or leave out the shards that come twice"
    )
