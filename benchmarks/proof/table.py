"""From results to the table: differences paired by seed, with 95 % t-intervals over seeds."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.proof.arms import CLAIMS, Claim
from benchmarks.proof.runs import run_folder
from data_tools.shapes_world import COLOURS, SHAPES

Scores = Mapping[str, float]  # by TASK/METRIC
_THING = re.compile(rf"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})(?:e?s)?\b")


@dataclass(frozen=True)
class Row:
    """A claim and what was measured."""

    claim: Claim
    without: float  # means over seeds
    with_it: float
    difference: float
    low: float
    high: float
    seeds: int

    @property
    def verdict(self) -> str:
        """Whether the interval bears the claim out."""
        low, high = sorted((self.claim.better * self.low, self.claim.better * self.high))
        if self.claim.margin is not None:
            return "shown" if low > -self.claim.margin else ("no" if high < 0 else "not shown")
        return "shown" if low > 0 else ("the reverse" if high < 0 else "not shown")


def read_scores(run: Path) -> Scores:
    """The last result of every task of a run, and the exactness of its captions."""
    found: dict[str, float] = {}
    for path in sorted(run.glob("eval/*/results.jsonl")):
        last = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
        found |= {f"{path.parent.name}/{k}": v for k, v in last["metrics"].items() if v is not None}
    written = run / "eval" / "captioning" / "predictions-captioning.npz"
    if written.is_file():
        with np.load(written) as arrays:
            pairs = list(zip(arrays["written"].tolist(), arrays["caption"].tolist(), strict=True))
        found["captioning/exact_things"] = exactness(pairs)
        turned = [pairs[i - 1][0] for i in range(len(pairs))]
        others = list(zip(turned, (true for _, true in pairs), strict=True))
        found["captioning/exact_things_chance"] = exactness(others)
    return found


def exactness(pairs: list[tuple[str, str]]) -> float:
    """The share of captions whose colour-shape pairs are exactly those of the true caption."""
    things = [(_THING.findall(written), _THING.findall(true)) for written, true in pairs]
    return float(np.mean([sorted(said) == sorted(there) for said, there in things]))


def paired(with_it: list[float], without: list[float]) -> tuple[float, float, float]:
    """Mean difference and its 95 % interval (Student's t over seeds)."""
    differences = np.asarray(with_it) - np.asarray(without)
    if np.ptp(differences) == 0:  # all alike: the interval is the value
        return float(differences[0]), float(differences[0]), float(differences[0])
    interval = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    return float(differences.mean()), float(interval.low), float(interval.high)


def rows(folder: Path, seeds: int) -> list[Row]:
    """Every claim, measured."""
    names = sorted({name for claim in CLAIMS for name in (claim.arm, claim.against)})
    scores = {
        name: [read_scores(run_folder(folder, name, seed)) for seed in range(seeds)]
        for name in names
    }
    found = []
    for claim in CLAIMS:
        with_it = [s[claim.number] for s in scores[claim.arm]]
        without = [s[claim.number] for s in scores[claim.against]]
        mean, low, high = paired(with_it, without)
        means = (float(np.mean(without)), float(np.mean(with_it)))
        found.append(Row(claim, *means, mean, low, high, seeds))
    captions = [read_scores(run_folder(folder, "coca", seed)) for seed in range(seeds)]
    exact = Claim(
        "Captioning (CoCa)",
        "coca",
        "captions of other pictures",
        "captioning/exact_things",
        "exact colours and shapes in captions",
    )
    with_it = [s["captioning/exact_things"] for s in captions]
    without = [s["captioning/exact_things_chance"] for s in captions]
    means = (float(np.mean(without)), float(np.mean(with_it)))
    return [*found, Row(exact, *means, *paired(with_it, without), seeds)]
