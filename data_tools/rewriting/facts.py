"""Numbers, names and script of a text: what a rewrite may not lose, invent or change."""

import re
import unicodedata
from collections import Counter

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_DIGITS = re.compile(r"\d+(?:[.,]\d+)*")
_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: value for value, word in enumerate(_SMALL)}
_VALUES |= {word: 10 * tens for tens, word in enumerate(_TENS, 2)}
_SAME = {"pair": "2", "couple": "2", "both": "2", "trio": "3", "dozen": "12"}  # also say a number
_SENTENCE_END = re.compile(r"[.!?:;]\s*[\"'“(]*$|^[\s\"'“(]*$")


def words(text: str) -> list[str]:
    """The words of a text in small letters, without punctuation."""
    return [word.casefold() for word in _WORD.findall(text)]


def numbers(text: str) -> set[str]:
    """The numbers of a text as digits, whether written in digits or in words up to ninety-nine.

    "One" and "zero" are left out: "one of them" and "no" say them in too many ways.
    """
    found = {number.replace(",", "") for number in _DIGITS.findall(text)}
    tens = 0
    for word in " ".join(words(text)).replace("-", " ").split():
        value = _VALUES.get(word, 0)
        if tens and 0 < value < 10:  # "twenty two" is one number
            found.discard(str(tens))
            value += tens
        found.add(str(value))
        tens = value if word in _TENS else 0
    return {number.lstrip("0") or "0" for number in found} - {"0", "1"}


def implied_numbers(text: str) -> set[str]:
    """The numbers that a text says or implies: "a pair" is two."""
    return numbers(text) | {
        _SAME[word.removesuffix("s")] for word in words(text) if word.removesuffix("s") in _SAME
    }


def names(text: str) -> set[str]:
    """Capitalised words that do not begin a sentence, in small letters.

    A text two thirds of whose words are capitalised (a title, a headline) tells no names apart.
    """
    inner = [
        match[0]
        for match in _WORD.finditer(text)
        if match[0][0].isalpha() and not _SENTENCE_END.search(text[: match.start()])
    ]
    capitalised = [word for word in inner if word[0].isupper() and word != "I"]
    is_title = 3 * len(capitalised) >= 2 * len(inner)
    return set() if is_title else {word.casefold() for word in capitalised}


def script(text: str) -> str:
    """The script of most letters ("LATIN", "CYRILLIC", "CJK", ...); "" without letters."""
    scripts = Counter(
        unicodedata.name(letter, "UNKNOWN").partition(" ")[0] for letter in text if letter.isalpha()
    )
    return max(scripts, key=lambda name: (scripts[name], name), default="")
