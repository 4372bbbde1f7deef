"""Second pass over a shard: verdicts on the answers, and the good ones as rewrites."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_tools.annotate import HEAD, Made, read_sidecar
from data_tools.rewriting.backends import Answer
from data_tools.rewriting.facts import words
from data_tools.rewriting.quality import AGAIN, GOOD, REPEATED, Asked, Limits, Verdict, clean, judge
from data_tools.rewriting.questions import Asking, answers_of, questions_of, read_others
from data_tools.samples import TEXTS, read_samples

SCHEMA = pa.schema(
    [
        *HEAD,
        ("texts", pa.list_(pa.string())),  # the good ones
        ("sources", pa.list_(pa.int32())),  # place in `answers` of each text
        ("answers", pa.list_(pa.string())),  # all, as the model gave them
        ("verdicts", pa.list_(pa.string())),  # of each answer
        ("values", pa.list_(pa.string())),  # what the verdict's rule found
        ("captions", pa.list_(pa.int32())),  # number of the own caption of each answer
        ("variants", pa.list_(pa.int32())),
    ]
)


@dataclass(frozen=True)
class Judging:
    """How answers are judged."""

    asking: Asking
    limits: Limits
    max_same: int  # as it was asked for
    repeated: Mapping[int, int]  # id of an answer that too many captions got -> how many

    def settings(self) -> dict[str, Any]:
        """What was asked for and decides the verdicts, for the recipe."""
        return {
            **self.asking.settings(),
            "min_words": self.limits.min_words,
            "max_words": self.limits.max_words,
            "max_same": self.max_same,
            "allow": sorted(self.limits.allowed),
        }


def make_texts(shard: Path, judging: Judging) -> Made:
    """The rewrites of a shard, with a verdict on each answer."""
    asking = judging.asking
    others = read_others(shard, asking)
    shown = frozenset(" ".join(words(rewrite)) for _, rewrite in asking.template.examples)
    counts: Counter[str] = Counter()
    rows = []
    answers = read_sidecar(shard, answers_of(asking.name)).to_pylist()
    for sample, row in zip(read_samples(shard, TEXTS), answers, strict=True):
        questions = questions_of(sample, asking, others)
        found = []
        for place, question in enumerate(questions):
            caption = question.texts.get("caption", "")
            asked = Asked(
                caption,
                "\n".join(question.texts.values()),
                shown,
                asking.template.is_rewrite,
                asking.template.is_faithful and bool(caption),
            )
            found.append(_verdict(row, place, asked, judging))
        found = _without_repeats(row, found)
        rows.append(_row(row, found))
        counts.update(verdict.rule for verdict in found)
        counts["samples with texts"] += any(verdict.rule == GOOD for verdict in found)
    return Made(pa.Table.from_pylist(rows, SCHEMA), counts)


def _verdict(row: Mapping[str, Any], place: int, asked: Asked, judging: Judging) -> Verdict:
    answer = Answer(row["answers"][place], row["finished"][place], row["errors"][place])
    verdict = judge(answer, asked, judging.limits)
    times = judging.repeated.get(row["answer_ids"][place])
    if verdict.rule == GOOD and times is not None:
        return Verdict(REPEATED, str(times))
    return verdict


def _without_repeats(row: Mapping[str, Any], verdicts: list[Verdict]) -> list[Verdict]:
    """A text that another variant has given already would only be drawn more often."""
    seen: dict[int, int] = {}
    for place, verdict in enumerate(verdicts):
        if verdict.rule == GOOD:
            first = seen.setdefault(row["answer_ids"][place], place)
            if first != place:
                verdicts[place] = Verdict(AGAIN, str(first))
    return verdicts


def _row(row: Mapping[str, Any], verdicts: list[Verdict]) -> dict[str, Any]:
    good = [place for place, verdict in enumerate(verdicts) if verdict.rule == GOOD]
    return {
        "key": row["key"],
        "src_sha256": row["src_sha256"],
        "texts": [clean(row["answers"][place]) for place in good],
        "sources": good,
        "answers": row["answers"],
        "verdicts": [verdict.rule for verdict in verdicts],
        "values": [verdict.value for verdict in verdicts],
        "captions": row["captions"],
        "variants": row["variants"],
    }
