"""The captions of a shard that have a number word, and what became of each."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_tools.annotate import HEAD, Made
from data_tools.counting.boxes import Box, boxes_by_sample
from data_tools.counting.captions import CaptionChoice, read_captions
from data_tools.counting.claims import Claim, Parsed
from data_tools.counting.verify import Verdict, Verifier
from data_tools.eval_captions import evaluation_captions, normalised
from data_tools.lots import rng
from data_tools.samples import TEXTS, read_samples
from vlp.data.numbers import NUMBERS, replace_number
from vlp.data.source import RawSample, UnusableSampleError

ACCEPTED, NO_NUMBER, EXCLUDED, AMBIGUOUS, NOT_VERIFIED = OUTCOMES = (
    "accepted",
    "no number",
    "excluded",
    "ambiguous",
    "not verified",
)
EVALUATION = "evaluation caption"  # a reason to be excluded
UNUSABLE = "samples without a readable caption"
SCHEMA = pa.schema(
    [
        *HEAD,
        ("caption", pa.int32()),  # its place among the sample's captions
        ("text", pa.string()),
        ("outcome", pa.string()),  # of `OUTCOMES`, without `NO_NUMBER`
        ("reason", pa.string()),  # null where accepted
        ("words", pa.list_(pa.string())),  # every number word with its noun, or why it has none
        # what follows is null where nothing is counted
        ("count", pa.int32()),
        ("noun", pa.string()),  # as written; empty where none was found
        ("start", pa.int32()),  # of the number word in the text, in characters
        ("end", pa.int32()),
        ("counterfactual", pa.string()),  # the text with another number word
        ("rule", pa.string()),  # class, any-class, prompted, unverified
        ("classes", pa.list_(pa.string())),  # that were counted
        ("count_low", pa.int32()),  # objects at the lower threshold
        ("count_high", pa.int32()),  # and at the higher one
    ]
)


@dataclass(frozen=True, kw_only=True)
class Mining:
    """How captions are read and verified.

    Args:
        captions: which captions of a sample are read.
        excluded: files of captions that no training may see, of --exclude-captions.
        boxes: name of the sidecar of boxes.
        verifier: None accepts what captions say.
        seed: of the wrong numbers.
    """

    captions: CaptionChoice
    excluded: tuple[str, ...]
    boxes: str
    verifier: Verifier | None
    seed: int


def mine_shard(shard: Path, mining: Mining) -> Made:
    """A row for every caption with a number word, and counts of all captions."""
    known = evaluation_captions(mining.excluded, "--exclude-captions").keys()
    found = boxes_by_sample(shard, mining.boxes) if mining.verifier else {}
    counts: Counter[str] = Counter()
    rows: list[Mapping[str, Any]] = []
    for sample in read_samples(shard, TEXTS):
        counts["samples"] += 1
        try:
            read = read_captions(sample, mining.captions)
            is_known = bool(known) and not known.isdisjoint(map(normalised, sample.captions()))
        except UnusableSampleError:
            counts[UNUSABLE] += 1
            continue
        for place, text, parsed in read:
            row = _row(sample, text, parsed, _judged(sample, parsed, is_known, found, mining))
            counts[f"{row['outcome']}: {row['reason']}" if row["reason"] else row["outcome"]] += 1
            if parsed.claim is not None:
                row |= _claimed(sample, text, parsed.claim, mining.seed)
            if row["outcome"] != NO_NUMBER:
                rows.append({**row, "caption": place})
    return Made(rows, counts)


_Found = Mapping[tuple[str, str], tuple[Box, ...] | None]


def _judged(
    sample: RawSample, parsed: Parsed, is_known: bool, found: _Found, mining: Mining
) -> tuple[str, Verdict]:
    """(outcome, what the boxes say or why nobody asked them)"""
    if is_known and parsed.outcome != NO_NUMBER:
        return EXCLUDED, Verdict(EVALUATION)
    if parsed.claim is None:
        return parsed.outcome, Verdict(parsed.reason)
    if mining.verifier is None:
        return ACCEPTED, Verdict(rule="unverified")
    joined_by = sample.key, sample.src_sha256
    if joined_by not in found:
        return NOT_VERIFIED, Verdict("no boxes")
    verdict = mining.verifier.verify(parsed.claim, found[joined_by])
    return (NOT_VERIFIED if verdict.reason else ACCEPTED), verdict


def _row(
    sample: RawSample, text: str, parsed: Parsed, judged: tuple[str, Verdict]
) -> dict[str, Any]:
    outcome, verdict = judged
    return {
        "key": sample.key,
        "src_sha256": sample.src_sha256,
        "text": text,
        "outcome": outcome,
        "reason": verdict.reason or None,
        "words": list(parsed.words),
        "rule": verdict.rule or None,
        "classes": list(verdict.classes),
        "count_low": verdict.low,
        "count_high": verdict.high,
    }


def _claimed(sample: RawSample, text: str, claim: Claim, seed: int) -> dict[str, Any]:
    draw = rng(seed, "counterfactual", sample.key, sample.src_sha256)
    wrong = draw.choice([number for number in NUMBERS if number != claim.count])
    return {
        "count": claim.count,
        "noun": claim.noun,
        "start": claim.span.start,
        "end": claim.span.end,
        "counterfactual": replace_number(text, claim.span, wrong),
    }


def first_accepted(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The first accepted caption of each sample."""
    seen: set[tuple[str, str]] = set()
    for row in rows:
        joined_by = row["key"], row["src_sha256"]
        if row["outcome"] == ACCEPTED and joined_by not in seen:
            seen.add(joined_by)
            yield row
