"""Which words of a caption the dictionary knows, and what they say of the picture."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from data_tools.near_misses.grammar import (
    ADJECTIVES,
    DENIALS,
    DETERMINERS,
    NOT_NOUNS,
    PREPOSITIONS,
    VERBS,
    ends_noun_phrase,
)
from data_tools.near_misses.lexicon import Meaning, lexicon
from data_tools.near_misses.tokens import Words

_MODIFIERS = frozenset({"colour", "material", "size", "age", "state", "action"})
_AND = frozenset({"and", "or"})
_PLACES = frozenset({"inside", "outside", "building"})
_ROOMS = frozenset({"noun room", "noun table", "noun counter", "noun plate", "noun desk"})
_OF_PHRASES = frozenset({"no", "without"})  # these deny a noun phrase, others a clause
_REACH = 5  # words between a modifier or preposition and its noun


class Found(NamedTuple):
    """Words first..last of a caption, and what they may mean."""

    first: int
    last: int
    meanings: tuple[Meaning, ...]

    def meaning(self, kind: str) -> Meaning | None:
        """The meaning of a kind; the one that can be exchanged where there are two."""
        own = [meaning for meaning in self.meanings if meaning.kind == kind]
        return next((meaning for meaning in own if meaning.group), own[0] if own else None)


@dataclass(frozen=True)
class Parsed:
    """A caption and the known words in it."""

    words: Words
    found: list[Found]
    at: Mapping[int, int]  # word -> place in `found`

    @classmethod
    def of(cls, text: str) -> "Parsed":
        """Look up every word; of overlapping terms the longest from the left counts."""
        words, terms = Words.of(text), lexicon().terms
        lower, found, at, place = words.lower, list[Found](), dict[int, int](), 0
        while place < len(lower):
            last = place
            for parts, meanings in terms.get(lower[place], ()):
                end = place + len(parts)
                if len(parts) == 1 or (
                    tuple(lower[place:end]) == parts
                    and all(words.follows(i) for i in range(place + 1, end))
                ):
                    last = end - 1
                    at |= dict.fromkeys(range(place, end), len(found))
                    found.append(Found(place, last, meanings))
                    break
            place = last + 1
        return cls(words, found, at)

    def term(self, place: int) -> Found | None:
        """The known term that word `place` is a part of."""
        return self.found[self.at[place]] if place in self.at else None

    @cached_property
    def _denials(self) -> list[int]:
        return [place for place, word in enumerate(self.words.lower) if word in DENIALS]

    def is_denied(self, place: int) -> bool:
        """Whether a word is what "no" or "without" denies, or in the clause of a "not".

        "A man without a dress" is as true as "without a shirt".
        """
        first = next((i for i in reversed(self._denials) if i < place), None)
        if first is None or not all(map(self.words.follows, range(first + 1, place + 1))):
            return False
        between = self.words.lower[first + 1 : place + 1]
        return self.words.lower[first] not in _OF_PHRASES or not any(map(_ends_denial, between))

    def is_noun(self, place: int) -> bool:
        """Whether a known noun has this word."""
        term = self.term(place)
        return term is not None and term.meaning("noun") is not None

    def is_modifier(self, place: int) -> bool:
        """Whether this word can stand between an article and a noun."""
        word = self.words.lower[place]
        if word in ADJECTIVES or word in DETERMINERS or word in _AND or word.isdigit():
            return True
        term = self.term(place)
        return term is not None and any(m.kind in _MODIFIERS for m in term.meanings)

    def noun_after(self, place: int) -> Found | None:
        """The noun that the words from `place` + 1 on lead to: "wooden table" of "a big wooden
        kitchen table" is table; None where something unknown comes between.
        """
        i, head = place + 1, None
        while i < len(self.words.lower) and i <= place + _REACH and self.words.follows(i):
            term = self.term(i)
            if term is not None and term.meaning("noun") is not None:
                head, i = term, term.last + 1
            elif head is None and self.is_modifier(i):
                i += 1
            else:
                break
        if head is None:
            return None
        after = self.words.after(head.last)
        return head if not after or ends_noun_phrase(after) else None

    def preposition_before(self, place: int) -> str:
        """The preposition that the noun phrase with word `place` depends on, or ""."""
        i = place
        while self.words.follows(i):
            i -= 1
            if self.words.lower[i] in PREPOSITIONS:
                return self.words.lower[i]
            if not self.is_modifier(i) and self.words.lower[i] not in NOT_NOUNS:
                return ""
        return ""

    def is_head(self, term: Found) -> bool:
        """Whether a noun stands alone: no part of a compound, as far as words near it tell."""
        before, after = self.words.before(term.first), self.words.after(term.last)
        noun = term.meaning("noun")
        is_plural = noun is not None and noun.form == "plural"  # "two dogs run"
        if after and not ends_noun_phrase(after) and not (is_plural and after in VERBS):
            return False
        if not before or before in NOT_NOUNS:
            return True
        return self.is_modifier(term.first - 1) and not self.is_noun(term.first - 1)

    def is_listed(self, term: Found) -> bool:
        """Whether a noun is one of several that are simply there: "a room with a chair and a bed".

        Beside what is listed there may be anything else.
        """
        words, start = self.words, term.first
        while words.follows(start) and self._is_within(start - 1):
            start -= 1
        before = words.before(start)
        if before in _AND or words.after(term.last) in _AND:
            return True
        if start and "," in words.gap(start):
            return True
        if term.last + 1 < len(words.lower) and "," in words.gap(term.last + 1):
            return True
        return before == "with" and start > 1 and self._is_place(start - 2)

    def _is_within(self, place: int) -> bool:
        return self.is_modifier(place) and self.words.lower[place] not in _AND

    def _is_place(self, place: int) -> bool:
        term = self.term(place)
        noun = term.meaning("noun") if term is not None else None
        return noun is not None and (noun.group in _PLACES or noun.lemma in _ROOMS)

    def nouns(self) -> Iterator[tuple[Found, Meaning]]:
        """The known nouns in their order."""
        for term in self.found:
            meaning = term.meaning("noun")
            if meaning is not None:
                yield term, meaning

    @cached_property
    def mentions(self) -> frozenset[str]:
        """The lemmas of everything that is known in it; also within compounds."""
        found = {meaning.lemma for term in self.found for meaning in term.meanings}
        terms = lexicon().terms
        for place, word in enumerate(self.words.lower):
            if place not in self.at and not word.isalpha():
                for part in word.replace("’", "-").replace("'", "-").split("-"):
                    for parts, meanings in terms.get(part, ()):
                        if len(parts) == 1:
                            found |= {meaning.lemma for meaning in meanings}
        return frozenset(found)

    @cached_property
    def several(self) -> frozenset[str]:
        """The lemmas of nouns in the plural: what may be said of more than one thing."""
        return frozenset(
            meaning.lemma
            for term in self.found
            for meaning in term.meanings
            if meaning.kind == "noun" and (meaning.form == "plural" or meaning.lemma in _GROUPS)
        )

    @cached_property
    def described(self) -> frozenset[tuple[str, str]]:
        """(attribute or relation, the noun that it stands before)."""
        found = set()
        for term in self.found:
            other = [m.lemma for m in term.meanings if m.kind not in ("noun", "fixed")]
            noun = self.noun_after(term.last) if other else None
            if noun is not None:
                own = noun.meaning("noun")
                found |= {(lemma, own.lemma) for lemma in other if own is not None}
        return frozenset(found)


def _ends_denial(word: str) -> bool:
    return ends_noun_phrase(word) and word not in DETERMINERS | _AND


_GROUPS = frozenset(f"noun {word}" for word in ("couple", "family", "group", "crowd", "team"))
