"""Near misses left out until the text alone gives nothing away (Hsieh et al. 2023, section 3.2).

What a model prefers is a gap of log-likelihoods. Of each kind, near misses are kept such that every
gap occurs as often as the same gap on the other side of zero.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_tools.annotate import Made, Recipe, read_sidecar, write_sidecar
from data_tools.lots import lot
from data_tools.near_misses.blind_test import Judged
from data_tools.near_misses.sidecar import KIND, LISTS, WITH, WITHOUT

_CELLS = 25  # on each side of zero
_WITHIN = 0.99  # of gaps lie in cells of one width; the last cell takes the others


def symmetric(judged: Judged, seed: int) -> NDArray[np.bool_]:
    """Which near misses are kept, [n]: of each pair of mirrored cells as many as the emptier has.

    Which ones is told by lots that hang on their texts alone. A gap of zero gives nothing away and
    is kept.
    """
    kept = np.zeros(len(judged.kinds), bool)
    for kind in np.unique(judged.kinds).tolist():
        own = np.flatnonzero(judged.kinds == kind)
        cells = _cells(judged.gaps[own])
        kept[own[cells == 0]] = True
        for cell in range(1, _CELLS + 1):
            sides = [own[cells == cell], own[cells == -cell]]
            quota = min(map(len, sides))
            for side in sides:
                lots = [lot(seed, "refine", *judged.names[place]) for place in side]
                kept[side[np.argsort(lots, kind="stable")[:quota]]] = True
    return kept


def _cells(gaps: NDArray[np.float64]) -> NDArray[np.int64]:
    """The cell of each gap: 1 to 25 on the positive side, -1 to -25 on the other, 0 for none."""
    sizes = np.abs(gaps)
    width = float(np.quantile(sizes, _WITHIN)) / _CELLS
    if width == 0:
        return np.sign(gaps).astype(np.int64)
    cells = np.minimum(np.ceil(sizes / width), _CELLS)
    return (np.sign(gaps) * np.maximum(cells, sizes > 0)).astype(np.int64)


def keep(
    shards: Sequence[Path], name: str, recipe: Recipe, kept: NDArray[np.bool_]
) -> Counter[str]:
    """Write the sidecars of a recipe with those of the sidecar `name` that are kept.

    Every shard is written, as which ones are kept hangs on all of them.

    Returns:
        What became of the captions, as `sidecar.made` counts.
    """
    total: Counter[str] = Counter()
    lots = iter(kept.tolist())
    for shard in shards:
        table = read_sidecar(shard, name)
        counts = Counter(_earlier(table.schema.metadata))
        rows = [_kept(row, lots, counts) for row in table.to_pylist()]
        write_sidecar(shard, recipe, Made(rows, +counts))
        total += counts
    return total


LEFT_OUT = "the text gave all its near misses away"


def _earlier(metadata: dict[bytes, bytes]) -> dict[str, int]:
    """The counts of a sidecar before any is left out, without those that are counted anew."""
    counts: dict[str, int] = json.loads(metadata[b"vlp_counts"])
    return {name: n for name, n in counts.items() if not name.startswith(KIND) and name != WITH}


def _kept(row: dict[str, Any], lots: Iterator[bool], counts: Counter[str]) -> dict[str, Any]:
    own = [next(lots) for _ in row["texts"]]
    for caption in dict.fromkeys(row["captions"]):
        some = any(k for k, c in zip(own, row["captions"], strict=True) if c == caption)
        counts[WITH if some else WITHOUT + LEFT_OUT] += 1
    counts.update(KIND + kind for kind, k in zip(row["kinds"], own, strict=True) if k)
    lists = {n: [v for v, k in zip(row[n], own, strict=True) if k] for n in LISTS}
    return row | lists
