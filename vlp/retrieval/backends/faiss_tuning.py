"""Finds how hard faiss must look for the recall that was asked for, and measures what it reaches.

Texts and pictures are tuned for apart, as a text lies off the cloud of pictures, where cells say
less about what is near. What is reported is measured on other queries than those tuned on.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil

import numpy as np

from vlp.progress import watched
from vlp.retrieval.backends.base import Scores
from vlp.retrieval.backends.exact import search_exactly
from vlp.retrieval.backends.faiss_index import FaissIndex, Setting, selector
from vlp.retrieval.backends.faiss_search import Searcher, Settings
from vlp.retrieval.snapshot import Mask, Rows, Snapshot

Search = Callable[[Scores, int, Mask], tuple[Scores, Rows]]

DEPTHS = (10, 100, 1000, 4000)  # those of pages, of groups, and of what hubness puts in new order
_QUERIES = 200  # of each kind to tune with, and as many others to measure with
_BEYOND = 20  # a depth is worth an index when the rows are more than so many times it
_RESERVE = 0.2  # of the recall that may be missed, kept as a reserve
_OVERSAMPLED = (1.25, 2, 4, 8, 16, 32, 64)  # candidates for each row that is wanted
_RESCORED = 1000  # candidates at most, beside 4 for each row that is wanted
_FEWER = 50  # queries of each kind do for the deeper ones, whose recall varies less


@dataclass(frozen=True)
class Tuned:
    """What tuning found.

    Args:
        settings: by depth.
        reached: whether the target is, at the first depth.
        recall: recall@10 against exact search by kind of query, on queries not tuned with.
        queries: how many, by kind.
        seconds: median of one search.
        exact_seconds: that of an exact one.
    """

    settings: Settings
    reached: bool
    recall: dict[str, float]
    queries: dict[str, int]
    seconds: float
    exact_seconds: float


def tune(index: FaissIndex, snapshot: Snapshot, texts: Scores | None, target: float) -> Tuned:
    """Settings for all depths.

    Args:
        index: of all rows of the snapshot.
        snapshot: where the truth is.
        texts: [b, D] unit vectors of texts, if there are any.
        target: recall that each kind of query shall reach at each depth.
    """
    depths = [depth for depth in DEPTHS if depth * _BEYOND <= len(snapshot)] or [DEPTHS[0]]
    tuning, testing = _samples(snapshot, texts)
    trials = [Trial(index, snapshot, sample, depths[0]) for sample in tuning]
    setting, reached = _tuned(index, trials, depths[0], target)
    settings = {depths[0]: setting}
    trials = [Trial(index, snapshot, sample.part(_FEWER), depths[-1]) for sample in tuning]
    for depth in depths[1:]:
        setting, suffices = _tuned(index, trials, depth, target)
        if reached and not suffices:
            break  # deeper searches look at all rows
        settings[depth] = setting
    return _measured(Searcher(snapshot, index, settings), testing, reached)


@dataclass(frozen=True)
class Sample:
    """Queries of one kind.

    Args:
        kind: "texts", or "pictures": rows of the index ("rows" where these are texts).
        vectors: [q, D].
        own: [q] rows that are the queries themselves, which nobody need find; -1 for texts.
    """

    kind: str
    vectors: Scores
    own: Rows

    def part(self, number: int) -> "Sample":
        """The first queries."""
        return Sample(self.kind, self.vectors[:number], self.own[:number])


@dataclass(frozen=True)
class Trial:
    """Queries with the rows that an exact search finds, as many of each as `depth`."""

    index: FaissIndex
    snapshot: Snapshot
    sample: Sample
    depth: int

    @cached_property
    def truth(self) -> list[Rows]:
        """Of each query the nearest rows, itself left out."""
        search = partial(search_exactly, self.snapshot)
        return _found(search, self.snapshot, self.sample, self.depth)

    def recalls(self, depth: int, effort: int, counts: Sequence[int]) -> list[float]:
        """Mean shares of the `depth` nearest rows that are among so many candidates each."""
        setting = Setting(effort, counts[-1])
        found = self.index.nearest(self.sample.vectors, setting, selector(self.snapshot.live))
        pairs = list(zip(self.truth, found, strict=True))
        return [
            float(np.mean([np.isin(truth[:depth], rows[:count]).mean() for truth, rows in pairs]))
            for count in counts
        ]


def _tuned(
    index: FaissIndex, trials: list[Trial], depth: int, target: float
) -> tuple[Setting, bool]:
    """(the least setting that reaches the target and a reserve, whether it reaches the target)."""
    wanted = target + _RESERVE * (1 - target)

    def worst(effort: int, counts: Sequence[int]) -> list[float]:
        recalls = [trial.recalls(depth, effort, counts) for trial in trials]
        return [float(least) for least in np.min(recalls, axis=0)]

    counts = [ceil(times * depth) for times in _OVERSAMPLED if (times - 4) * depth <= _RESCORED]
    efforts = _ladder(index.most_effort)
    most = worst(efforts[-1], counts)
    # half of what may be missed is what codes miss, the other half what is not looked at
    enough = most[-1] - (1 - wanted) / 2
    count = next(count for count, recall in zip(counts, most, strict=True) if recall >= enough)
    effort = _least(efforts, lambda effort: worst(effort, [count])[0] >= wanted)
    return Setting(effort, count), worst(effort, [count])[0] >= target


def _ladder(most: int) -> list[int]:
    """1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, ... up to a number."""
    steps = [2**power * part / 4 for power in range(32) for part in (4, 5, 6, 7)]
    return [*dict.fromkeys(int(step) for step in steps if step < most), most]


def _least(choices: list[int], suffices: Callable[[int], bool]) -> int:
    """The least that suffices, by halving, when more is never worse; the last when none does."""
    low, high = 0, len(choices) - 1
    while low < high:
        middle = (low + high) // 2
        if suffices(choices[middle]):
            high = middle
        else:
            low = middle + 1
    return choices[low]


def _samples(snapshot: Snapshot, texts: Scores | None) -> tuple[list[Sample], list[Sample]]:
    """Queries to tune with and others to measure with, of each kind there is."""
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(snapshot.live)
    rows = rng.permutation(rows)[: 2 * _QUERIES]
    vectors = snapshot.vectors(rows)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    own = "pictures" if snapshot.manifest.modality == "image" else "rows"
    kinds = [Sample(own, vectors, rows)]
    if texts is not None and len(texts) > 1:
        chosen = rng.permutation(len(texts))[: 2 * _QUERIES]
        kinds.insert(0, Sample("texts", texts[chosen], np.full(len(chosen), -1)))
    halves: tuple[list[Sample], list[Sample]] = ([], [])
    for sample in kinds:
        middle = len(sample.own) // 2
        for half, part in zip(halves, (slice(middle), slice(middle, None)), strict=True):
            half.append(Sample(sample.kind, sample.vectors[part], sample.own[part]))
    return halves


def _measured(searcher: Searcher, testing: list[Sample], reached: bool) -> Tuned:
    """What a search reaches, and the time that it takes."""
    snapshot = searcher.snapshot
    times: dict[str, list[float]] = {"exact": [], "faiss": []}
    searches: dict[str, Search] = {
        "exact": partial(search_exactly, snapshot),
        "faiss": searcher.search,
    }

    def timed(name: str, queries: Scores, k: int, allowed: Mask) -> tuple[Scores, Rows]:
        begin = time.perf_counter()
        found = searches[name](queries, k, allowed)
        times[name].append(time.perf_counter() - begin)
        return found

    recall = {}
    for sample in testing:
        truth, found = (
            _found(partial(timed, name), snapshot, sample, DEPTHS[0]) for name in searches
        )
        recall[sample.kind] = float(
            np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)])
        )
    return Tuned(
        settings=searcher.settings,
        reached=reached,
        recall=recall,
        queries={sample.kind: len(sample.own) for sample in testing},
        seconds=float(np.median(times["faiss"])),
        exact_seconds=float(np.median(times["exact"])),
    )


def _found(search: Search, snapshot: Snapshot, sample: Sample, depth: int) -> list[Rows]:
    """The rows that a search finds for each query, itself left out."""
    everything = []
    queries = list(zip(sample.vectors, sample.own, strict=True))
    allowed = snapshot.live.copy()
    for query, own in watched(queries, f"recall on {sample.kind}", "queries"):
        if own >= 0:
            allowed[own] = False
        rows = search(query[None], depth, allowed)[1][0]
        if own >= 0:
            allowed[own] = True
        everything.append(rows[rows >= 0])
    return everything
