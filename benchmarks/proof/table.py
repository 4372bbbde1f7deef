"""From results to the table: differences paired by seed, with 95 % t-intervals over seeds."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.proof.arms import CLAIMS, Claim
from benchmarks.proof.runs import run_folder
from data_tools.world.scenes import BACKGROUNDS, COLOURS, NUMBERS, SHAPES, TEXTURES

Scores = Mapping[str, float]  # by TASK/METRIC
_WORDS = (*COLOURS, *SHAPES, *NUMBERS.values(), *BACKGROUNDS, *TEXTURES)
_ATTRIBUTE = re.compile(rf"\b(?:{'|'.join(_WORDS)})(?:e?s)?\b")
_WRITTEN = {  # numbers of the captions that were written: what they say
    "attributes": "attributes in captions",
    "exact_things": "captions with exactly the right things",
}
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
            margin = self.claim.margin
            return "shown" if low > -margin else ("the reverse" if high < -margin else "not shown")
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
        turned = [pairs[i - 1][0] for i in range(len(pairs))]
        others = list(zip(turned, (true for _, true in pairs), strict=True))
        for name, measure in (("attributes", attributes), ("exact_things", exactness)):
            found[f"captioning/{name}"] = measure(pairs)
            found[f"captioning/{name}_chance"] = measure(others)
    return found


def attributes(pairs: list[tuple[str, str]]) -> float:
    """The share of colours, shapes, numbers and backgrounds of true captions that were written."""
    right = total = 0
    for written, true in pairs:
        said, there = (Counter(map(_singular, _ATTRIBUTE.findall(t))) for t in (written, true))
        right += (said & there).total()
        total += there.total()
    return right / total


def _singular(word: str) -> str:
    return next((shape for shape in SHAPES if word.startswith(shape)), word)


def exactness(pairs: list[tuple[str, str]]) -> float:
    """The share of captions whose colour-shape pairs are exactly those of the true caption."""
    things = [(_THING.findall(written), _THING.findall(true)) for written, true in pairs]
    return float(np.mean([sorted(said) == sorted(there) for said, there in things]))


def paired(with_it: list[float], without: list[float]) -> tuple[float, float, float]:
    """Mean difference and its 95 % interval (Student's t over seeds)."""
    differences = np.asarray(with_it) - np.asarray(without)
    if np.ptp(differences) == 0:  # no spread, so nothing is known of it
        return float(differences[0]), -math.inf, math.inf
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
    for name, says in _WRITTEN.items():
        number = f"captioning/{name}"
        claim = Claim("Captioning (CoCa)", "coca", "captions of other pictures", number, says)
        with_it = [s[number] for s in captions]
        without = [s[f"{number}_chance"] for s in captions]
        means = (float(np.mean(without)), float(np.mean(with_it)))
        found.append(Row(claim, *means, *paired(with_it, without), seeds))
    return found
