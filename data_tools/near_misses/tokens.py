"""A caption as words with their places, so that an edit takes a whole word and never a part."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

# hyphens and apostrophes belong to a word: "orange-red" and "man's" are neither orange nor man
_WORD = re.compile(r"[^\W_]+(?:[-'’‐‑][^\W_]+)*")
_BEFORE = frozenset("(\"'“‘[")
_AFTER = frozenset(".,;:!?)\"'”’]")
_LONG = 5  # letters of words that headlines write with a capital
_VOWELS = frozenset("aeiou")
_CONSONANT_SOUND = ("one", "uni", "use", "eur", "ukulele", "ewe")  # a unicorn, a European
_SILENT_H = ("hour", "honest", "heir", "honour", "honor")


class Edit(NamedTuple):
    """text[start:end] becomes `new`."""

    start: int
    end: int
    new: str


@dataclass(frozen=True)
class Words:
    """The words of a text: word i is text[starts[i]:ends[i]], in lower case `lower[i]`."""

    text: str
    lower: list[str]
    starts: list[int]
    ends: list[int]

    @classmethod
    def of(cls, text: str) -> "Words":
        """The words of a text, in its order."""
        found = list(_WORD.finditer(text))
        return cls(
            text,
            [match.group().lower() for match in found],
            [match.start() for match in found],
            [match.end() for match in found],
        )

    def shown(self, first: int, last: int) -> str:
        """The text from word `first` to word `last`."""
        return self.text[self.starts[first] : self.ends[last]]

    def gap(self, place: int) -> str:
        """The text between word `place` and the word before it."""
        return self.text[self.ends[place - 1] : self.starts[place]]

    def follows(self, place: int) -> bool:
        """Whether only white space lies between word `place` and the word before it."""
        return place > 0 and self.gap(place).isspace()

    def before(self, place: int) -> str:
        """The word before this one in the same phrase, "" where there is none."""
        return self.lower[place - 1] if self.follows(place) else ""

    def after(self, place: int) -> str:
        """The word after this one in the same phrase, "" where there is none."""
        is_followed = place + 1 < len(self.lower) and self.follows(place + 1)
        return self.lower[place + 1] if is_followed else ""

    def stands_free(self, first: int, last: int) -> bool:
        """Whether these words are no part of an address, a compound or another sign."""
        text, start, end = self.text, self.starts[first], self.ends[last]
        while start and text[start - 1] in _BEFORE:
            start -= 1
        while end < len(text) and text[end] in _AFTER:
            end += 1
        return (start == 0 or text[start - 1].isspace()) and (
            end == len(text) or text[end].isspace()
        )

    def is_name(self, first: int, last: int) -> bool:
        """Whether capitals within a sentence tell that these words are a name."""
        own = [self.text[self.starts[i]] for i in range(max(first, 1), last + 1)]
        return any(letter.isupper() for letter in own) and not self._is_title()

    def _is_title(self) -> bool:
        """Whether all words have a capital, as in headlines, save small ones such as "with"."""
        return all(
            len(word) < _LONG or self.text[start].isupper()
            for start, word in zip(self.starts, self.lower, strict=True)
        )


def replacement(words: Words, first: int, last: int, new: str) -> list[Edit]:
    """The edits that put `new` in the place of words, with its case and an article before it."""
    edit = Edit(words.starts[first], words.ends[last], in_case_of(words.shown(first, last), new))
    return [*article(words, first, new), edit]


def article(words: Words, place: int, new: str) -> list[Edit]:
    """The edit of an "a" or "an" before word `place` that suits `new` instead; none if it does."""
    before = words.before(place)
    if before not in ("a", "an") or before == article_of(new):
        return []
    start, end = words.starts[place - 1], words.ends[place - 1]
    wanted = article_of(new)
    old = words.text[start:end]
    if old[0].isupper():
        next_word = words.shown(place, place)
        wanted = wanted.upper() if next_word.isupper() else wanted.capitalize()
    return [Edit(start, end, wanted)]


def article_of(word: str) -> str:
    """ "a" or "an", by the sound that a word begins with."""
    word = word.lower()
    if word.startswith(_SILENT_H):
        return "an"
    return "an" if word[0] in _VOWELS and not word.startswith(_CONSONANT_SOUND) else "a"


def is_vowel(letter: str) -> bool:
    """Whether a letter is one of a, e, i, o, u."""
    return letter in _VOWELS


def in_case_of(old: str, new: str) -> str:
    """A word in the case of another: Dog -> Cat, DOG -> CAT, Living Room -> Parking Lot."""
    if old.isupper() and len(old) > 1:
        return new.upper()
    if not old[0].isupper():
        return new
    parts = old.split()
    if len(parts) > 1 and all(part[0].isupper() for part in parts):
        return " ".join(part.capitalize() for part in new.split(" "))
    return new[0].upper() + new[1:]


def applied(text: str, edits: Sequence[Edit]) -> str:
    """The text after edits that do not overlap."""
    parts, place = [], 0
    for edit in sorted(edits):
        parts += [text[place : edit.start], edit.new]
        place = edit.end
    return "".join([*parts, text[place:]])
