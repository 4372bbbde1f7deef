"""Answers that go with captions by the order of lines alone, as LaCLIP's files do, joined to keys.

One line too few or too many somewhere would put every later answer on another row, and nothing in
such a file would tell. So the lines are counted, and answers have to share more words with their
own caption than with the captions around it, in every tenth of the file.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from data_tools.rewriting.facts import words
from data_tools.samples import TEXTS, read_samples
from vlp.data.files import write_text
from vlp.data.leftovers import remove_leftovers
from vlp.data.source import RawSample, UnusableSampleError
from vlp.errors import InputError

_BLOCKS = 10
_LOOKED_AT = 500  # captions of each block
_SHIFTS = (-3, -2, -1, 1, 2, 3)
_CLEARLY = 1.2  # times as many shared words as beside the right place


def joined_by_order(file: Path, shards: Sequence[Path]) -> Path:
    """Write FILE.jsonl for FILE.txt, with a line for each sample of the shards, in their order.

    Raises:
        InputError: another number of lines than of samples, lines that fit other captions better,
            or a FILE.jsonl that holds something else.
    """
    try:
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--answers {file}: {error}") from None
    samples = [(s.key, _caption(s)) for shard in shards for s in read_samples(shard, TEXTS)]
    if len(lines) != len(samples):
        raise InputError(
            f"--answers {file}: {len(lines):,} lines for {len(samples):,} samples; by order there "
            "has to be one for each"
        )
    _check_order(file, [caption for _, caption in samples], lines)
    rows = [{"key": key, "answer": line} for (key, _), line in zip(samples, lines, strict=True)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    keyed = file.with_suffix(".jsonl")
    if keyed.exists() and keyed.read_text(encoding="utf-8") != text:
        raise InputError(f"--answers {file}: {keyed} is there and holds something else; remove it")
    remove_leftovers(keyed)
    write_text(keyed, text)
    return keyed


def _caption(sample: RawSample) -> str:
    try:
        return sample.captions()[0]
    except UnusableSampleError:
        return ""


def _check_order(file: Path, captions: Sequence[str], lines: Sequence[str]) -> None:
    size = -(-len(lines) // _BLOCKS)
    for begin in range(0, len(lines), size):
        end = min(begin + size, len(lines))
        places = range(begin, end, max(1, (end - begin) // _LOOKED_AT))
        own = _shared(captions, lines, places, 0)
        beside = {shift: _shared(captions, lines, places, shift) for shift in _SHIFTS}
        best = max(beside, key=lambda shift: beside[shift])
        if own <= _CLEARLY * beside[best]:
            raise InputError(
                f"--answers {file}: lines {begin + 1:,} to {end:,} share {own:.0%} of their words "
                f"with their own captions and {beside[best]:.0%} with those {abs(best)} "
                f"{'after' if best > 0 else 'before'}; the order is not that of the samples"
            )


def _shared(
    captions: Sequence[str], lines: Sequence[str], places: Sequence[int], shift: int
) -> float:
    """Mean share of words (Jaccard) of lines and the captions `shift` after them."""
    shares = []
    for place in places:
        one, two = set(words(lines[place])), set(words(captions[(place + shift) % len(captions)]))
        shares.append(len(one & two) / max(len(one | two), 1))
    return sum(shares) / max(len(shares), 1)
