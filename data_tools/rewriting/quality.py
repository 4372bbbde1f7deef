"""Whether an answer is a caption: the text in it, and a verdict on that text."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data_tools.rewriting.answer_words import LEAKS, OPENINGS, REFUSALS
from data_tools.rewriting.backends import Answer
from data_tools.rewriting.facts import implied_numbers, names, numbers, script, words

GOOD, FAILED = "good", "failed"
UNASKED = "nothing-to-fuse"  # the other sidecar has no text for the sample
REPEATED = "duplicate-answer"  # too many captions got it
AGAIN = "repeats-variant"  # the sample has this text already
_QUOTES = "\"'“”‘’«»*`"
_THINKING = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)
_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ufffd]")  # broken UTF-8, control signs
_LONGEST_LOOP = 8  # words that are repeated


@dataclass(frozen=True)
class Asked:
    """What an answer is held against."""

    caption: str  # what was to be said in other words; "" if the picture alone was shown
    given: str = ""  # all texts that were to be used: the caption, and one that is fused with it
    shown: frozenset[str] = frozenset()  # example rewrites in the prompt, as words
    is_rewrite: bool = True  # an answer that repeats the caption is none, nor one in another script
    is_faithful: bool = True  # numbers and names of the caption have to stay


@dataclass(frozen=True)
class Verdict:
    """`rule` is "good" or the first rule that rejects; `value` is what it found."""

    rule: str
    value: str = ""


@dataclass(frozen=True)
class Limits:
    """Bounds of a good text in words, and rules that reject nothing."""

    min_words: int
    max_words: int
    allowed: frozenset[str] = frozenset()


def clean(text: str) -> str:
    """The caption in an answer: its first line, without thinking, openings and quotation marks.

    "Sure! Here is a caption:" on a line of its own gives way to the next line.
    """
    lines = [" ".join(line.split()) for line in _THINKING.sub("", text).splitlines()]
    for line in filter(None, lines):
        for opening in OPENINGS:
            line = opening.sub("", line).strip()
        while len(line) > 1 and line[0] in _QUOTES and line[-1] in _QUOTES:
            line = line[1:-1].strip()
        if line:
            return line
    return ""


def judge(answer: Answer, asked: Asked, limits: Limits) -> Verdict:
    """The verdict on one answer, by the rules in their order."""
    if answer.error == UNASKED:
        return Verdict(UNASKED)
    if answer.error:
        return Verdict(FAILED, answer.error)
    text = clean(answer.text)
    if not answer.is_finished and "unfinished" not in limits.allowed:
        return Verdict("unfinished", text[-40:])
    for rule, find in RULES.items():
        value = None if rule in limits.allowed else find(text, asked, limits)
        if value is not None:
            return Verdict(rule, value)
    return Verdict(GOOD)


def _empty(text: str, asked: Asked, limits: Limits) -> str | None:
    return None if words(text) else text[:40]


def _garbled(text: str, asked: Asked, limits: Limits) -> str | None:
    found = _NO_TEXT.search(text)
    return repr(found[0]) if found and found[0] not in asked.given else None


def _refusal(text: str, asked: Asked, limits: Limits) -> str | None:
    found = REFUSALS.search(text)
    return found[0] if found and not REFUSALS.search(asked.given) else None


def _leak(text: str, asked: Asked, limits: Limits) -> str | None:
    found = LEAKS.search(text)
    if found and not LEAKS.search(asked.given):
        return found[0]
    return text[:40] if " ".join(words(text)) in asked.shown else None


def _short(text: str, asked: Asked, limits: Limits) -> str | None:
    count = len(text.split())
    # scripts without spaces have words that cannot be counted this way
    is_short = count < limits.min_words and script(text) not in ("CJK", "HIRAGANA", "THAI", "LAO")
    return str(count) if is_short else None


def _long(text: str, asked: Asked, limits: Limits) -> str | None:
    count = len(text.split())
    return str(count) if count > limits.max_words else None


def _echo(text: str, asked: Asked, limits: Limits) -> str | None:
    return "" if asked.is_rewrite and words(text) == words(asked.caption) else None


def _loop(text: str, asked: Asked, limits: Limits) -> str | None:
    there, given = words(text), " ".join(words(asked.given))
    for size in range(1, _LONGEST_LOOP + 1):
        for start in range(len(there) - 3 * size + 1):
            unit = there[start : start + size]
            if there[start : start + 3 * size] == unit * 3 and " ".join(unit * 3) not in given:
                return " ".join(unit)
    return None


def _script(text: str, asked: Asked, limits: Limits) -> str | None:
    if not asked.is_rewrite:
        return None
    source, answer = script(asked.caption), script(text)
    return answer if source and answer and source != answer else None


def _lost_number(text: str, asked: Asked, limits: Limits) -> str | None:
    lost = numbers(asked.caption) - implied_numbers(text) if asked.is_faithful else set()
    return _listed(lost)


def _lost_name(text: str, asked: Asked, limits: Limits) -> str | None:
    lost = names(asked.caption) - set(words(text)) if asked.is_faithful else set()
    # "Rome's" for "Rome", "New-York" for "New York", "Corgi" for "Corgis"
    said = text.casefold()
    kept = {n for n in lost if re.search(rf"(?<!\w){re.escape(n.removesuffix('s'))}", said)}
    return _listed(lost - kept)


def _new_number(text: str, asked: Asked, limits: Limits) -> str | None:
    new = numbers(text) - implied_numbers(asked.given) if asked.is_rewrite else set()
    return _listed(new)


def _listed(found: set[str]) -> str | None:
    return ", ".join(sorted(found)) if found else None


Rule = Callable[[str, Asked, Limits], str | None]
RULES: dict[str, Rule] = {
    "empty": _empty,
    "garbled": _garbled,
    "refusal": _refusal,
    "leak": _leak,
    "loop": _loop,
    "echo": _echo,
    "short": _short,
    "long": _long,
    "script": _script,
    "lost-number": _lost_number,
    "new-number": _new_number,
    "lost-name": _lost_name,
}
ALLOWABLE: Sequence[str] = ("unfinished", *list(RULES)[1:])
VERDICTS: Sequence[str] = (GOOD, FAILED, UNASKED, "unfinished", *RULES, REPEATED, AGAIN)
