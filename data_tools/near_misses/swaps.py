"""Where a caption becomes false by exchanging two of its words or phrases.

"A cat next to a dog" is as true the other way round; so words are exchanged only around a verb or
preposition that tells the two apart, and never across an "and".
"""

import itertools
from collections.abc import Iterator
from functools import cache

from data_tools.near_misses.grammar import DETERMINERS, GENDERED, PRONOUNS
from data_tools.near_misses.lexicon import Meaning, Option, lexicon
from data_tools.near_misses.parsing import Found, Parsed
from data_tools.near_misses.sites import Site, allowed_colours, is_editable, made_of
from data_tools.near_misses.tokens import Edit, in_case_of, replacement
from data_tools.word_lists import word_set

# of "A ... B": who does it or lies there is told by the order
_ONE_WAY = word_set(
    "on onto in into inside under underneath beneath below above over behind atop front riding "
    "rides ride chasing chases chase carrying carries carry holding holds hold watching watches "
    "watch pulling pulls pushing pushes feeding feeds leading leads biting bites licking licks "
    "sniffing sniffs catching catches kicking kicks lifting lifts petting pets washing washes "
    "following follows attacking attacks eating eats photographing teaching helping helps "
    "bathing grabbing grabs throwing throws dragging drags hitting hits herding"
)
# these make both ways true, or something else of the phrase
_BOTH_WAYS = word_set(
    "and or with next beside near by against alongside while but whilst as who which that "
    "between from than like other another each together where when off of at for during kissing "
    "hugging fighting wrestling meeting facing playing talking along"
)
_SIZES = (
    ("vehicle",),
    ("meal", "fruit", "vessel", "cutlery", "electronics", "household", "luggage", "toy"),
    ("furniture", "seat"),
)
_POSSESSIVES = word_set("his her its their my our your")
_MOST_PAIRS = 6


def swaps(parsed: Parsed) -> Iterator[Site]:
    """Every exchange that makes the caption false."""
    yield from _attributes(parsed)
    if any(word in _ONE_WAY for word in parsed.words.lower):
        heads = [pair for pair in parsed.nouns() if is_editable(parsed, pair[0])]
        for one, other in itertools.pairwise(heads):
            if _can_be_exchanged(parsed, one, other):
                yield from _nouns(parsed, one, other)


def _nouns(
    parsed: Parsed, one: tuple[Found, Meaning], other: tuple[Found, Meaning]
) -> Iterator[Site]:
    """The exchange of two nouns, and of the noun phrases that they are in."""
    words, (first, own), (second, its) = parsed.words, one, other
    pairs = frozenset({(f"before {its.lemma}", own.lemma)})
    shown = [words.shown(*term[:2]) for term in (first, second)]
    edits = [
        *replacement(words, first.first, first.last, _plain(shown[1])),
        *replacement(words, second.first, second.last, _plain(shown[0])),
    ]
    yield _site("swap-nouns", edits, pairs)
    starts = [_phrase(parsed, term) for term in (first, second)]
    if starts[0] < first.first - 1 or starts[1] < second.first - 1:
        yield _site("order", _phrases(parsed, starts, (first.last, second.last)), pairs)


def _plain(text: str) -> str:
    """A noun without the capital of a sentence's first word."""
    return text.lower()


def _phrases(parsed: Parsed, starts: list[int], ends: tuple[int, int]) -> list[Edit]:
    words = parsed.words
    texts = [words.shown(start, end) for start, end in zip(starts, ends, strict=True)]
    lowered = [text if place and not text.isupper() else _uncapitalised(text)
               for place, text in zip(starts, texts, strict=True)]  # fmt: skip
    return [
        Edit(words.starts[starts[0]], words.ends[ends[0]], _cased(texts[0], lowered[1])),
        Edit(words.starts[starts[1]], words.ends[ends[1]], _cased(texts[1], lowered[0])),
    ]


def _uncapitalised(text: str) -> str:
    return text[0].lower() + text[1:]


def _cased(old: str, new: str) -> str:
    return in_case_of(old[0], new) if old[0].isupper() else new


def _phrase(parsed: Parsed, term: Found) -> int:
    """The first word of the noun phrase that a noun ends."""
    words, start = parsed.words, term.first
    while words.follows(start) and parsed.is_modifier(start - 1):
        start -= 1
        if words.lower[start] in DETERMINERS:
            break
    return start


def _can_be_exchanged(
    parsed: Parsed, one: tuple[Found, Meaning], other: tuple[Found, Meaning]
) -> bool:
    words, (first, own), (second, its) = parsed.words, one, other
    if own.form != its.form or own.form not in ("singular", "plural"):
        return False
    if lexicon().are_related(own.lemma, its.lemma) or not _are_alike(own, its):
        return False
    if not (parsed.is_head(first) and parsed.is_head(second)):
        return False
    between = words.lower[first.last + 1 : second.first]
    joined = all(words.follows(i) for i in range(first.last + 1, second.first + 1))
    if not joined or _ONE_WAY.isdisjoint(between) or not _BOTH_WAYS.isdisjoint(between):
        return False
    if any(parsed.is_noun(place) for place in range(first.last + 1, second.first)):
        return False
    if words.before(first.first) in _POSSESSIVES or not _POSSESSIVES.isdisjoint(between):
        return False
    return GENDERED.isdisjoint(words.lower) and PRONOUNS.isdisjoint(between)


def _are_alike(one: Meaning, other: Meaning) -> bool:
    living = _living()
    if one.lemma in living and other.lemma in living:
        return True
    return any(one.group in size and other.group in size for size in _SIZES)


@cache
def _living() -> frozenset[str]:
    return lexicon().resolve(
        "grown-up, youngster, profession, sportsman, mammal, bird kind, creature, child, kid,"
        " toddler, baby"
    )


def _attributes(parsed: Parsed) -> Iterator[Site]:
    """The exchange of two colours, sizes or the like of different things."""
    owned = []
    for term in parsed.found:
        noun = _described(parsed, term)
        if noun is not None:
            owned += [(term, meaning, noun) for meaning in term.meanings
                      if meaning.group and meaning.kind not in ("noun", "action")]  # fmt: skip
    pairs = itertools.combinations(owned, 2)
    fitting = (pair for pair in pairs if _denies_both(*pair))
    for (one, first, noun), (other, second, its) in itertools.islice(fitting, _MOST_PAIRS):
        words = parsed.words
        shown = [_plain(words.shown(*term[:2])) for term in (one, other)]
        edits = [
            *replacement(words, one.first, one.last, shown[1]),
            *replacement(words, other.first, other.last, shown[0]),
        ]
        said = {(second.lemma, noun.lemma), (first.lemma, its.lemma)}
        yield _site("swap-attributes", edits, frozenset(said))


def _described(parsed: Parsed, term: Found) -> Meaning | None:
    """The noun that a single attribute stands before."""
    words = parsed.words
    around = {words.before(term.first), words.after(term.last)}
    if around & {"and", "or"} or not is_editable(parsed, term):
        return None
    noun = parsed.noun_after(term.last)
    if noun is None or any(
        words.lower[i] in ("and", "or") for i in range(term.last + 1, noun.first)
    ):
        return None
    return noun.meaning("noun")


def _denies_both(
    one: tuple[Found, Meaning, Meaning], other: tuple[Found, Meaning, Meaning]
) -> bool:
    known, (_, first, noun), (_, second, its) = lexicon(), one, other
    if first.group != second.group or known.are_related(first.lemma, second.lemma):
        return False
    if known.are_related(noun.lemma, its.lemma):
        return False
    if first.kind == "colour":
        return _may_be(noun.lemma, second.lemma) and _may_be(its.lemma, first.lemma)
    if first.kind == "material":
        return second.lemma in made_of(noun) and first.lemma in made_of(its)
    return True


def _may_be(noun: str, colour: str) -> bool:
    allowed = allowed_colours(noun)
    return allowed is None or colour in allowed


def _site(kind: str, edits: list[Edit], pairs: frozenset[tuple[str, str]]) -> Site:
    """An exchange: one option, whose edits are known; an article may lie in both."""
    edits = sorted(set(edits))
    return Site(kind, "", [Option("", "", frozenset())], lambda _: edits, pairs)
