"""What a caption counts: a number word from two to ten and the noun that it belongs to.

The noun is the first plural within five words behind the number (Paiss et al. 2023 take number
words alone). A caption counts only if exactly one of its number words does; every other is named
with the reason.
"""

import re
from dataclasses import dataclass
from typing import Literal

from data_tools.counting.classes import counted_classes
from data_tools.counting.meanings import excluded, excluded_noun
from data_tools.plurals import is_plural, singular
from data_tools.word_lists import words
from vlp.data.numbers import NumberSpan, find_number, find_numbers

WINDOW = 5  # words behind the number among which the noun is looked for
_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")
_GAP = re.compile(r"[\s,&'\"“”‘’]*")  # between words of one phrase
# what ends the phrase that a number word begins
_ENDS = words(
    "on in at with by near under over above below behind beside besides next to from for into "
    "onto through across around along against between among during of off up down out inside "
    "outside are is were was be been being have has had do does did can will would could may "
    "must a an the this these those his her their its my our your it they he she we i you who "
    "whose that which where while when as or but each some many both all other one not"
)


@dataclass(frozen=True)
class Claim:
    """A caption says that there are `count` of `noun`."""

    span: NumberSpan
    noun: str  # as written; "" where no noun was found
    phrase: tuple[str, ...]  # the words behind the number, to the noun

    @property
    def count(self) -> int:
        """The number."""
        return self.span.count

    @property
    def prompt(self) -> str:
        """One of them in words, for a detector that takes a text; empty without a noun."""
        return " ".join((*self.phrase[:-1], singular(self.phrase[-1]))) if self.phrase else ""


@dataclass(frozen=True)
class Parsed:
    """What became of a caption: it counts (`claim`), or the reason why not."""

    outcome: Literal["no number", "excluded", "ambiguous", "claim"]
    reason: str = ""
    claim: Claim | None = None
    words: tuple[str, ...] = ()  # the number words, each with its noun or the reason, for people


def parse(text: str) -> Parsed:
    """Find what a caption counts."""
    spans = find_numbers(text)
    if not spans:
        return Parsed("no number")
    read = [read_claim(text, span) for span in spans]
    told = tuple(
        f"{text[s.start : s.end]}: {_told(one)}" for s, one in zip(spans, read, strict=True)
    )
    claims = [one for one in read if isinstance(one, Claim)]
    if not claims:
        reasons = dict.fromkeys(one for one in read if isinstance(one, str))
        return Parsed("excluded", next(iter(reasons)), words=told)
    if len(claims) > 1:
        return Parsed("ambiguous", _ambiguity(claims), words=told)
    (claim,) = claims
    # training writes wrong numbers where this finds the word, so it must be the same one
    if find_number(text, claim.count, claim.noun) != claim.span:
        return Parsed("ambiguous", "the number twice", words=told)
    return Parsed("claim", claim=claim, words=told)


def read_claim(text: str, span: NumberSpan) -> Claim | str:
    """What one number word counts, or the reason (of `EXCLUSIONS`) why it counts nothing."""
    reason = excluded(text, span)
    if reason is not None:
        return reason
    words = find_phrase(text, span)
    if not words:
        return Claim(span, "", ())
    noun = words[-1].group()
    phrase = tuple(word.group().lower() for word in words)
    reason = excluded_noun(noun)
    if reason is None and _is_shared(phrase, text, words[-1].end()):
        reason = "shared"
    return reason or Claim(span, noun, phrase)


def find_phrase(text: str, span: NumberSpan) -> list[re.Match[str]]:
    """The words from a number word to its noun, the last of them; none where no noun is found."""
    words = _phrase(text, span.end)
    head = _head(words)
    return [] if head is None else words[: head + 1]


def _phrase(text: str, start: int) -> list[re.Match[str]]:
    """The words behind a place that may still belong to one noun phrase, at most `WINDOW`."""
    found: list[re.Match[str]] = []
    for word in _WORD.finditer(text, start):
        gap = text[start : word.start()]
        if not _GAP.fullmatch(gap) or ("," in gap and not found):
            break
        if word.group().lower() in _ENDS or len(found) == WINDOW:
            break
        found.append(word)
        start = word.end()
    return found


def _head(words: list[re.Match[str]]) -> int | None:
    """The place of the noun: the first plural, or the last of several in a row ("sports cars").

    Writers leave the plural out of names of animals and things ("two giraffe on grass"): then it is
    a noun of a known class that no other noun follows.
    """
    for place, word in enumerate(words):
        if not is_plural(word.group()):
            continue
        following = words[place + 1 : place + 2]
        if following and is_plural(following[0].group()) and _touch(word, following[0]):
            return place + 1
        return place
    for place, word in enumerate(words):
        following = words[place + 1 : place + 2]
        is_last = not following or following[0].group().lower().endswith("ing")
        classes = counted_classes((word.group().lower(),))
        if is_last and classes and classes != {"person"}:  # "a three factor model"
            return place
    return None


def _touch(word: re.Match[str], following: re.Match[str]) -> bool:
    return word.string[word.end() : following.start()].isspace()


def _is_shared(phrase: tuple[str, ...], text: str, end: int) -> bool:
    """Whether the number may be that of two nouns together: "three cats and dogs"."""
    coordinated = re.match(r"\s*(?:and|&)\s+((?:[^\W_]+\s+)?[^\W_]+)\b", text[end:])
    if coordinated is None:
        return False
    others = [word for word in coordinated[1].lower().split() if is_plural(word)]
    if not others or coordinated[1].lower().split()[0] in _ENDS or find_numbers(coordinated[1]):
        return False
    own, other = counted_classes(phrase), counted_classes((others[0],))
    return own is None or own != other


def _ambiguity(claims: list[Claim]) -> str:
    nouns = {singular(claim.noun) for claim in claims}
    same = len(nouns) == 1 and len({claim.count for claim in claims}) == 1
    return "the number twice" if same else "several numbers"


def _told(read: Claim | str) -> str:
    return (read.noun or "no noun") if isinstance(read, Claim) else read
