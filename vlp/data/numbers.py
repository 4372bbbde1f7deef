"""Number words from two to ten in a text: found, told apart, replaced.

A word is found at word boundaries, whatever its case, so "kitten", "height" or "sixty" hold none; a
word that is part of a larger number ("twenty-two", "five hundred and six") does not mean its own
value and is passed over.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

NUMBERS: Mapping[int, str] = MappingProxyType(
    {
        2: "two",
        3: "three",
        4: "four",
        5: "five",
        6: "six",
        7: "seven",
        8: "eight",
        9: "nine",
        10: "ten",
    }
)
_VALUES = {word: number for number, word in NUMBERS.items()}
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ("hundred", "thousand", "million", "billion", "dozen")


def _any_case(word: str) -> str:
    """Not re.IGNORECASE, for which the letters of other alphabets (ſ, ı) are s and i too."""
    return "".join(f"[{letter}{letter.upper()}]" for letter in word)


def _one_of(words: tuple[str, ...]) -> str:
    return "|".join(map(_any_case, words))


# what follows is looked at and not taken: in "two hundred five" it also stands before the next word
_NUMBER = re.compile(
    rf"\b(?P<before>(?:{_one_of(_TENS)})[-\s]"
    rf"|(?:{_one_of(_SCALES)})[-\s](?:{_any_case('and')}[-\s])?)?"
    rf"(?P<word>{_one_of(tuple(_VALUES))})\b"
    rf"(?=(?P<after>[-\s](?:{_one_of(_SCALES)})\b)?)"
)


@dataclass(frozen=True)
class NumberSpan:
    """One number word: text[start:end] says `count`."""

    start: int
    end: int
    count: int


def find_numbers(text: str) -> list[NumberSpan]:
    """Every number word from two to ten, in the order of the text."""
    return [
        NumberSpan(*match.span("word"), _VALUES[match["word"].lower()])
        for match in _NUMBER.finditer(text)
        if match["before"] is None and match["after"] is None
    ]


def find_number(text: str, count: int, noun: str = "") -> NumberSpan | None:
    """The occurrence that says how many there are of `noun`, or None where no word says `count`.

    Of several it is the one that the noun follows most closely, and the first without a hint.
    """
    spans = [span for span in find_numbers(text) if span.count == count]
    if not spans:
        return None
    return min(spans, key=lambda span: _distance(text, span, noun))  # the first of equal ones


def replace_number(text: str, span: NumberSpan, number: int) -> str:
    """The text with another number word in the place of one occurrence: Nine -> Five, NINE -> FIVE.

    Raises:
        ValueError: a number that has no word here.
    """
    if number not in NUMBERS:
        raise ValueError(f"number {number}: choices are {min(NUMBERS)} to {max(NUMBERS)}")
    old, new = text[span.start : span.end], NUMBERS[number]
    if old.isupper():
        new = new.upper()
    elif old[0].isupper():
        new = new.capitalize()
    return text[: span.start] + new + text[span.end :]


def with_each_number(text: str, count: int, noun: str = "") -> list[str] | None:
    """The text with each of two to ten in the place of the word that says `count`, in this order.

    None where no word of the text says `count`. At `count` - 2 stands the text itself.
    """
    span = find_number(text, count, noun)
    if span is None:
        return None
    return [text if number == count else replace_number(text, span, number) for number in NUMBERS]


def _distance(text: str, span: NumberSpan, noun: str) -> int:
    """Characters from a number word to the noun behind it; far where there is none."""
    if not noun:
        return 0
    pattern = rf"\b{re.escape(noun)}(?:s|es)?\b"
    found = re.compile(pattern, re.IGNORECASE).search(text, span.end)
    return found.start() - span.end if found else len(text) + 1
