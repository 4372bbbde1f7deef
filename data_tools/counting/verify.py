"""Whether a picture shows as many of a noun as its caption says, by its boxes.

A noun that means classes of the detector is counted by these. Of any other noun nothing is known:
then the largest count of one class has to be the number, whatever the class (Paiss et al. 2023).
Both have to hold at two thresholds, as a count that changes between them is a guess.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data_tools.counting.boxes import Box
from data_tools.counting.claims import Claim
from data_tools.counting.classes import canonical, counted_classes

IOU = 0.5  # of two boxes above which the lower one shows the same object
REASONS = (
    "no boxes",
    "unreadable picture",
    "no class",
    "crowd",
    "thresholds differ",
    "another count",
)
Unmapped = Literal["any-class", "reject"]


@dataclass(frozen=True)
class Verdict:
    """What the boxes say of a claim."""

    reason: str = ""  # of `REASONS`; "" where it holds
    low: int | None = None  # how many there are at the lower threshold
    high: int | None = None  # and at the higher
    classes: tuple[str, ...] = ()  # that were counted
    rule: str = ""  # class, any-class, prompted


@dataclass(frozen=True)
class Verifier:
    """Compares claims with boxes.

    Args:
        thresholds: of a detection's score, the lower first.
        classes: what the detector knows; None where it was asked for the noun itself.
        unmapped: what to do with a noun that is none of them.
    """

    thresholds: tuple[float, float]
    classes: tuple[str, ...] | None
    unmapped: Unmapped = "any-class"

    def verify(self, claim: Claim, boxes: Sequence[Box] | None) -> Verdict:
        """Compare one claim with the boxes of its picture; None means that it is unreadable."""
        if boxes is None:
            return Verdict("unreadable picture")
        if not boxes:
            return Verdict("no boxes")
        own: Collection[str] | None
        if self.classes is None:
            own, rule = {canonical(claim.prompt)} if claim.prompt else None, "prompted"
        else:
            own, rule = counted_classes(claim.phrase, self.classes), "class"
        if own is None and (self.unmapped == "reject" or self.classes is None):
            return Verdict("no class")
        if own is None:
            return self._any_class(claim.count, boxes)
        low, high = self._counts([box for box in boxes if box.label in own])
        is_crowd = any(box.crowd and box.label in own for box in boxes)
        return _verdict(claim.count, (low, high), sorted(own), rule, is_crowd)

    def _any_class(self, count: int, boxes: Sequence[Box]) -> Verdict:
        by_label: Mapping[str, list[Box]] = defaultdict(list)
        for box in boxes:
            by_label[box.label].append(box)
        counts = {label: self._counts(own) for label, own in by_label.items()}
        low = max((low for low, _ in counts.values()), default=0)
        high = max((high for _, high in counts.values()), default=0)
        classes = sorted(label for label, both in counts.items() if both == (count, count))
        is_crowd = any(box.crowd for box in boxes)
        return _verdict(count, (low, high), classes, "any-class", is_crowd)

    def _counts(self, boxes: Sequence[Box]) -> tuple[int, int]:
        """How many objects there are at either threshold.

        What suppresses a box has a higher score, so one pass serves both thresholds.
        """
        drawn = sum(box.score is None for box in boxes)
        scores = [box.score for box in distinct(boxes) if box.score is not None]
        low, high = (sum(score >= least for score in scores) for least in self.thresholds)
        return drawn + low, drawn + high


def distinct(boxes: Iterable[Box]) -> list[Box]:
    """The detections that no better one overlaps: greedy suppression of non-maxima.

    Boxes that people drew (`score` None) are left out; these are distinct by themselves.
    """
    scored = [(box, box.score) for box in boxes if box.score is not None]
    kept: list[Box] = []
    for box, _ in sorted(scored, key=lambda pair: -pair[1]):
        if all(iou(box.corners, other.corners) <= IOU for other in kept):
            kept.append(box)
    return kept


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    both = float(np.prod(sides.clip(0)))
    areas = [float(np.prod((box[2:] - box[:2]).clip(0))) for box in (first, second)]
    union = sum(areas) - both
    return both / union if union > 0 else 0.0


def _verdict(
    count: int, both: tuple[int, int], classes: Sequence[str], rule: str, is_crowd: bool
) -> Verdict:
    low, high = both
    if is_crowd:
        reason = "crowd"
    elif low == high == count:
        reason = ""
    else:
        reason = "thresholds differ" if count in both else "another count"
    return Verdict(reason, low, high, tuple(classes), rule)
