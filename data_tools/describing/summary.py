"""The descriptions of all shards, summed up."""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_tools.describing.shard import MEASURES, Described
from data_tools.lots import lot

_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
_TOP_WORDS = 50


@dataclass(frozen=True)
class Summary:
    """All shards together."""

    numbers: dict[str, Any]  # what the JSON file holds
    values: Mapping[str, NDArray[np.float64]]  # measure -> one value a sample, for histograms
    shown: Sequence[tuple[Path, str]]  # (shard, key) of the samples to show


def summarise(shards: Sequence[Described], pictures: int, seed: int) -> Summary:
    """The numbers of all shards, and `pictures` samples drawn by the seed."""
    values = _values(shards)
    samples = sum(len(shard.keys) for shard in shards)
    numbers = {
        "shards": len(shards),
        "samples": samples,
        "bytes": sum(shard.bytes for shard in shards),
        "samples_per_shard": _spread(np.array([len(shard.keys) for shard in shards], np.float64)),
        "members": _sorted(shard.members for shard in shards),
        "formats": _sorted(shard.formats for shard in shards),
        "modes": _sorted(shard.modes for shard in shards),
        "scripts": _sorted(shard.scripts for shard in shards),
        "problems": _sorted(shard.problems for shard in shards),
        "measures": {name: _spread(found) for name, found in values.items()},
        "duplicates": {
            "pictures": _repeats(np.concatenate([shard.pictures for shard in shards])),
            "captions": _repeats(np.concatenate([shard.texts for shard in shards])),
            "keys": samples - len({key for shard in shards for key in shard.keys}),
        },
        "words": _words(shards),
        "sidecars": _sidecars(shards, samples),
    }
    return Summary(numbers, values, list(_drawn(shards, pictures, seed)))


def summary_lines(numbers: Mapping[str, Any]) -> Iterator[str]:
    """The headline of the numbers, as lines."""
    size, measures = numbers["bytes"], numbers["measures"]
    yield f"{numbers['samples']:,} samples in {numbers['shards']:,} shards, {size / 1e6:,.1f} MB"
    for name, unit in (("short_side", "px"), ("aspect", ""), ("characters", ""), ("words", "")):
        found = measures[name]
        if found["count"]:
            low, middle, high = (found[key] for key in ("p5", "p50", "p95"))
            told = name.replace("_", " ")
            yield f"{told}: median {middle:g}{unit}, 5 % below {low:g}, 5 % above {high:g}"
    for name in ("formats", "scripts", "problems"):
        if numbers[name]:
            yield f"{name}: {', '.join(f'{key} {n:,}' for key, n in numbers[name].items())}"
    repeated = numbers["duplicates"]
    yield "repeated: " + ", ".join(f"{repeated[name]:,} {name}" for name in repeated)
    for name, found in numbers["sidecars"].items():
        yield f"sidecar {name}: {found['rows']:,} rows in {found['shards']:,} shards"


def _values(shards: Sequence[Described]) -> dict[str, NDArray[np.float64]]:
    """Measure -> the values of the samples where it can be told."""
    table = np.concatenate([shard.measures for shard in shards]).astype(np.float64)
    found = {name: table[table[:, i] >= 0, i] for i, name in enumerate(MEASURES)}
    sides = table[table[:, 0] > 0, :2]
    found["short_side"] = sides.min(axis=1)
    found["aspect"] = sides.max(axis=1) / np.maximum(1, sides.min(axis=1))
    found["megapixels"] = sides.prod(axis=1) / 1e6
    return found


def _spread(values: NDArray[np.float64]) -> dict[str, float | int]:
    if not len(values):
        return {"count": 0}
    levels = np.percentile(values, _PERCENTILES)
    return {
        "count": len(values),
        "min": round(float(values.min()), 4),
        **{f"p{p}": round(float(v), 4) for p, v in zip(_PERCENTILES, levels, strict=True)},
        "max": round(float(values.max()), 4),
        "mean": round(float(values.mean()), 4),
    }


def _sorted(counters: Iterator[Counter[str]]) -> dict[str, int]:
    total = sum(counters, Counter[str]())
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def _repeats(hashes: NDArray[np.uint64]) -> int:
    """How many samples have what an earlier sample has too; a hash of 0 is none."""
    there = hashes[hashes.any(axis=1)]
    return len(there) - len(np.unique(there, axis=0))


def _words(shards: Sequence[Described]) -> dict[str, Any]:
    total = sum((shard.words for shard in shards), Counter[str]())
    total.pop("", None)
    top = heapq.nsmallest(_TOP_WORDS, total.items(), key=lambda item: (-item[1], item[0]))
    once = sum(count == 1 for count in total.values())
    return {"different": len(total), "in_one_caption": once, "top": dict(top)}


def _sidecars(shards: Sequence[Described], samples: int) -> dict[str, dict[str, int]]:
    names = sorted({name for shard in shards for name in shard.sidecars})
    return {
        name: {
            "rows": sum(shard.sidecars.get(name, 0) for shard in shards),
            "shards": sum(name in shard.sidecars for shard in shards),
            "samples": samples,
        }
        for name in names
    }


def _drawn(shards: Sequence[Described], pictures: int, seed: int) -> Iterator[tuple[Path, str]]:
    lots = (
        (lot(seed, shard.shard.name, key), place, key)
        for place, shard in enumerate(shards)
        for key in shard.keys
    )
    for _, place, key in heapq.nsmallest(pictures, lots):
        yield shards[place].shard, key
