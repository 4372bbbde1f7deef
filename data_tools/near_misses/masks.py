"""Which words of a caption a masked language model may fill anew, and what it may put there."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from data_tools import plurals
from data_tools.near_misses.captions import Caption
from data_tools.near_misses.grammar import (
    ADJECTIVES,
    DETERMINERS,
    STOP_WORDS,
    THIRD_PERSONS,
    VERBS,
)
from data_tools.near_misses.lexicon import Meaning, Option, lexicon
from data_tools.near_misses.parsing import Found, Parsed
from data_tools.near_misses.sites import is_editable
from data_tools.word_lists import word_set

# a preposition may be put in for another unless both stand in a line
_PLACES = (
    "on onto upon atop above over at in",
    "under underneath beneath below",
    "in inside into within through at among amid",
    "near beside by alongside along against at with around",
    "behind after",
    "before past beyond",
    "across over through around along",
    "towards toward to",
    "up", "down", "off from", "outside",
)  # fmt: skip
_PREPOSITIONS = frozenset(" ".join(_PLACES).split()) - {"at", "with", "to", "after", "from", "by"}
# what one may do besides anything else
_BROAD = word_set(
    "look watch play pose smile laugh grin stare gaze hold wear enjoy have get be wait take make "
    "do try go come move rest relax talk speak sing yawn show use begin start seem appear prepar"
)
_ATTRIBUTES = frozenset({"colour", "material", "size", "age", "state"})
_SHORTEST_STEM = 4
_ENDINGS = ("ings", "ing", "ers", "er", "est", "ies", "es", "ed", "ly", "s", "y", "e")


@dataclass(frozen=True)
class Mask:
    """Word `place` of a caption, hidden from the model."""

    kind: str
    place: int


def masks(parsed: Parsed) -> Iterator[Mask]:
    """Every word that may be filled anew. The first word is none: capitals would tell of it."""
    for place in range(1, len(parsed.words.lower)):
        if is_editable(parsed, Found(place, place, ())):
            kind = _kind(parsed, place)
            if kind:
                yield Mask(f"fill-{kind}", place)


def _kind(parsed: Parsed, place: int) -> str:
    """What a word is, as far as the lists and the words beside it tell; "" for anything else."""
    words = parsed.words
    word, before, after = words.lower[place], words.before(place), words.after(place)
    term = parsed.term(place)
    if term is not None and term.first != term.last:
        return ""  # "front" of "in front of"
    if word in _PREPOSITIONS:
        return "preposition" if after in DETERMINERS else ""
    if term is not None and term.meaning("noun") is not None:
        return "noun" if parsed.is_head(term) and after != "of" else ""
    if term is not None and any(meaning.kind == "fixed" for meaning in term.meanings):
        return ""
    is_verb = word.endswith("ing") or word in THIRD_PERSONS
    if is_verb and before not in DETERMINERS | ADJECTIVES and after not in DETERMINERS:
        return "verb"
    if parsed.is_modifier(place) and word not in STOP_WORDS and not word.isdigit():
        is_attribute = any(meaning.kind in _ATTRIBUTES for meaning in _meanings(word))
        return "adjective" if before in DETERMINERS and is_attribute else ""
    return ""


def fits(mask: Mask, caption: Caption, word: str, stems: frozenset[str]) -> bool:
    """Whether a word that a model proposes makes the caption false and keeps its grammar.

    Args:
        word: in lower case.
        stems: of all words that are said of the picture.
    """
    old = caption.parsed.words.lower[mask.place]
    if mask.kind == "fill-preposition":
        return word in _PREPOSITIONS and not _is_near(old, word)
    if word in STOP_WORDS or stem(word) in stems or not _has_form(mask.kind, old, word):
        return False
    return _is_denied(caption, mask, word)


def _is_near(one: str, other: str) -> bool:
    return any(one in line.split() and other in line.split() for line in _PLACES)


def _has_form(kind: str, old: str, new: str) -> bool:
    if kind == "fill-verb":
        ending = "ing" if old.endswith("ing") else "s"
        is_form = new.endswith(ending) and (ending == "ing" or new in THIRD_PERSONS)
        return is_form and not {stem(old), stem(new)} & _broad_stems()
    if kind == "fill-noun":
        is_other = new in VERBS or new.endswith("ing") or new in ADJECTIVES
        kinds = {meaning.kind for meaning in _meanings(new)}
        return (
            not is_other and (not kinds or "noun" in kinds) and _is_plural(old) == _is_plural(new)
        )
    # a brown dog may be small: only what is of one kind denies the other
    olds, news = (
        {m.group for m in _meanings(word) if m.kind in _ATTRIBUTES} for word in (old, new)
    )
    return not olds.isdisjoint(news)


def _meanings(word: str) -> tuple[Meaning, ...]:
    """What a single word may mean by the lists."""
    found = lexicon().terms.get(word, ())
    return next((meanings for parts, meanings in found if len(parts) == 1), ())


@cache
def _broad_stems() -> frozenset[str]:
    return frozenset(map(stem, _BROAD))


def _is_plural(noun: str) -> bool:
    forms = {meaning.form for meaning in _meanings(noun) if meaning.kind == "noun"}
    if forms:
        return "plural" in forms
    return plurals.is_plural(noun)


def _is_denied(caption: Caption, mask: Mask, word: str) -> bool:
    """By the lists, where they have both words."""
    known = lexicon()
    term = caption.parsed.term(mask.place)
    olds = [meaning.lemma for meaning in term.meanings] if term is not None else []
    news = {meaning.lemma for meaning in _meanings(word)}
    if any(known.are_related(old, new) for old in olds for new in news):
        return False
    if any(one in uppers for new in news for one in olds for uppers in [_uppers(new)]):
        return False
    return all(
        caption.picture.denies(old, Option(word, new, known.near.get(new, frozenset()) | {new}))
        for new in news
        for old in olds or [""]
    )


def _uppers(lemma: str) -> frozenset[str]:
    return lexicon().above.get(lemma, frozenset())


@cache
def listed_words() -> frozenset[str]:
    """All single words of this package's lists."""
    terms = lexicon().terms
    single = {word for word, found in terms.items() if any(len(parts) == 1 for parts, _ in found)}
    return frozenset(single) | ADJECTIVES | VERBS | _PREPOSITIONS


def stem(word: str) -> str:
    """What forms of a word share: walk of walks, walked and walking."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM - 1:
            word = word.removesuffix(ending)
            break
    if len(word) > _SHORTEST_STEM and word[-1] == word[-2]:  # runn of running
        return word[:-1]
    return word
