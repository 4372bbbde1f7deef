"""Where a caption can be made false by other words in one place."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

from data_tools.near_misses.attributes import (
    COLOURS_OF,
    MADE_OF,
    OFTEN_NOUNS,
    RELATIONS,
    SCALES,
    SHADES,
    VIVID,
)
from data_tools.near_misses.grammar import (
    ADJECTIVES,
    ARTICLES,
    DENIALS,
    DETERMINERS,
    GENDERED,
    PREPOSITIONS,
)
from data_tools.near_misses.lexicon import Meaning, Option, lexicon
from data_tools.near_misses.nouns import GROUPS
from data_tools.near_misses.parsing import Found, Parsed
from data_tools.near_misses.picture import NUMBER_OPTIONS
from data_tools.near_misses.tokens import Edit, replacement
from data_tools.word_lists import word_set
from vlp.data.numbers import find_numbers

_PARTICLES = word_set("up down out back off over around still")
_SLEEP = word_set("in on under beside near next at")
_INTRANSITIVE = PREPOSITIONS | word_set("and while as next") | {""}
_AIMED_AT = frozenset({"noun camera"})  # "smiles at the camera" is said of the photographer
_AIMING = word_set("at to for toward towards into")
_PLAY = word_set("playing play plays played")
_GAME = word_set("game match player players team practice")
_OUTSIDE = word_set("on onto near across from over by beside")
_INSIDE = word_set("in inside into through near from outside")
_GROUND = word_set("in on through across over into onto")
_SIDE_BEFORE = word_set("the to on far his her its their upper lower bottom top")
_SIDE_AFTER = word_set("of side hand foot arm leg corner paw ear")
_UNITS = word_set(
    "year years month months week weeks day days hour hours minute minutes o'clock foot feet "
    "inch inches meter meters metre metres mile miles pound pounds dollar dollars percent piece "
    "pieces way and or of to in more other by"
)
_FROM = word_set("off from down over")
_HUES = word_set("lime sky royal forest mint hot baby army blood snow jet")
_MINUS_NUMBER = word_set("of number no at by")


@dataclass(frozen=True)
class Site:
    """A place of a caption and what may be put there.

    Args:
        kind: of near miss.
        lemma: what stands there.
        options: what may take its place.
        edits: of the word put in.
        pairs: what must not be said of the picture; see `Picture.described`.
    """

    kind: str
    lemma: str
    options: Sequence[Option]
    edits: Callable[[str], list[Edit]]
    pairs: frozenset[tuple[str, str]] = frozenset()


def replacements(parsed: Parsed) -> Iterator[Site]:
    """Every place where other words make the caption false, in the order of the text."""
    is_gendered = not GENDERED.isdisjoint(parsed.words.lower)
    for term in parsed.found:
        if not is_editable(parsed, term):
            continue
        for meaning in term.meanings:
            options = _options(parsed, term, meaning, is_gendered)
            if options:
                edits = partial(replacement, parsed.words, term.first, term.last)
                yield Site(meaning.kind, meaning.lemma, options, edits)
            elif meaning.kind == "relation":
                yield from _relation(parsed, term, meaning)
    yield from _numbers(parsed)


def is_editable(parsed: Parsed, term: Found) -> bool:
    """Whether a term is whole words of the sentence, no name, and not denied anyway."""
    words = parsed.words
    if parsed.is_denied(term.first):
        return False
    return words.stands_free(term.first, term.last) and not words.is_name(term.first, term.last)


@cache
def allowed_colours(noun: str) -> frozenset[str] | None:
    """The colours that a noun may have; None for any, nothing for people."""
    for names, colours in COLOURS_OF:
        if noun in lexicon().resolve(names):
            return colours_of(colours)
    return None


@cache
def colours_of(names: str) -> frozenset[str]:
    """The lemmas of colours in a list."""
    return frozenset(f"colour {name.strip()}" for name in names.split(","))


def made_of(noun: Meaning) -> frozenset[str]:
    """The materials that something may be made of; none for what is not listed."""
    names = MADE_OF.get(noun.lemma.removeprefix("noun ")) or MADE_OF.get(noun.group, "")
    return frozenset(f"material {name.strip()}" for name in names.split(",") if name)


def _options(parsed: Parsed, term: Found, meaning: Meaning, is_gendered: bool) -> Sequence[Option]:
    """What may take the place of a term, if it means this; nothing where it may mean another."""
    if not meaning.group:
        return ()
    if meaning.kind == "noun":
        return _nouns(parsed, term, meaning, is_gendered)
    options = lexicon().options[meaning.group, meaning.lemma, meaning.form]
    if meaning.kind == "colour":
        return _colours(parsed, term, options)
    if meaning.kind == "material":
        noun = parsed.noun_after(term.last)
        own = noun.meaning("noun") if noun is not None else None
        fitting = made_of(own) if own is not None else frozenset()
        return [o for o in options if o.lemma in fitting] if meaning.lemma in fitting else ()
    if meaning.kind == "action":
        if not _is_of_a_body(parsed, term, meaning):
            return ()
        may_sleep = parsed.words.after(term.last) in _SLEEP
        return [o for o in options if may_sleep or o.lemma != "action sleep"]
    return options if _is_on_scale(parsed, term, meaning) else ()


def _nouns(parsed: Parsed, term: Found, meaning: Meaning, is_gendered: bool) -> Sequence[Option]:
    group, words = meaning.group, parsed.words
    before, after = words.before(term.first), words.after(term.last)
    if group == "game":
        if before not in _PLAY and after not in _GAME:
            return ()
    elif not parsed.is_head(term):
        return ()
    if meaning.lemma in _AIMED_AT and parsed.preposition_before(term.first) in _AIMING:
        return ()
    if is_gendered and group in ("grown-up", "youngster"):
        return ()
    preposition = {"outside": _OUTSIDE, "inside": _INSIDE, "ground": _GROUND}.get(group)
    if preposition is not None and after == "of":  # a sea of fans
        return ()
    if preposition is not None and parsed.preposition_before(term.first) not in preposition:
        return ()
    if GROUPS[group].sort == "thing" and parsed.is_listed(term):
        return ()
    if GROUPS[group].is_mass and before in ARTICLES:
        return ()
    if group == "ground" and before not in ("the", *_GROUND):  # tall grass, deep water
        return ()
    form = meaning.form
    if form == "either":
        if before not in ARTICLES:
            return ()
        form = "singular"
    return lexicon().options[group, meaning.lemma, form]


def _colours(parsed: Parsed, term: Found, options: Sequence[Option]) -> Sequence[Option]:
    words = parsed.words
    noun = parsed.noun_after(_last_of_list(parsed, term))
    name = words.lower[term.last]
    if _is_part_of_colour(parsed, term):
        return ()
    if name in OFTEN_NOUNS and noun is None and words.before(term.first) not in ("in", *SHADES):
        return ()
    own = noun.meaning("noun") if noun is not None else None
    allowed = allowed_colours(own.lemma) if own is not None else None
    if words.before(term.first) in SHADES:
        vivid = colours_of(VIVID)
        allowed = vivid if allowed is None else allowed & vivid
    return options if allowed is None else [o for o in options if o.lemma in allowed]


def _is_part_of_colour(parsed: Parsed, term: Found) -> bool:
    """Whether another word makes one colour with it: "navy blue", "lime green"."""
    words = parsed.words
    beside = {words.before(term.first): term.first - 1, words.after(term.last): term.last + 1}
    terms = [parsed.term(place) for word, place in beside.items() if word]
    if any(one is not None and one.meaning("colour") is not None for one in terms):
        return True
    return words.before(term.first) in _HUES


def _last_of_list(parsed: Parsed, term: Found) -> int:
    """The last word of colours in a list: "white" of "brown, black and white"."""
    last = term.last
    while last + 1 < len(parsed.words.lower) and parsed.words.gap(last + 1).strip() == ",":
        following = parsed.term(last + 1)
        if following is None or following.meaning("colour") is None:
            break
        last = following.last
    return last


def _is_of_a_body(parsed: Parsed, term: Found, meaning: Meaning) -> bool:
    words = parsed.words
    before, after = words.before(term.first), words.after(term.last)
    if after in _PARTICLES or after not in _INTRANSITIVE:
        return False
    if meaning.form == "base" and not _is_plural_noun(parsed, term.first - 1):
        return False
    if meaning.form == "s" and (before in DETERMINERS or before in PREPOSITIONS | ADJECTIVES):
        return False
    subject = None
    for other, own in parsed.nouns():
        if other.first > term.first:
            break
        subject = own.lemma
    return subject in bodies()


@cache
def bodies() -> frozenset[str]:
    """The nouns that sit, walk and smile."""
    return lexicon().resolve(
        "grown-up, youngster, profession, sportsman, mammal, animal, person, child, kid, toddler,"
        " baby, adult, teenager, friend, player, athlete, rider, worker, couple, family, group,"
        " crowd,"
        " team, bird, pet, people"
    )


def _is_plural_noun(parsed: Parsed, place: int) -> bool:
    term = parsed.term(place) if place >= 0 else None
    noun = term.meaning("noun") if term is not None else None
    return noun is not None and noun.form == "plural"


def _is_on_scale(parsed: Parsed, term: Found, meaning: Meaning) -> bool:
    noun = parsed.noun_after(term.last)
    own = noun.meaning("noun") if noun is not None else None
    if own is None:
        return False
    before, after = _before_and_not(meaning.group)
    return (not before or own.lemma in before) and own.lemma not in after


@cache
def _before_and_not(group: str) -> tuple[frozenset[str], frozenset[str]]:
    scale = SCALES[int(group.removeprefix("scale "))]
    return lexicon().resolve(scale.before), lexicon().resolve(scale.not_before)


def _relation(parsed: Parsed, term: Found, meaning: Meaning) -> Iterator[Site]:
    words, known = parsed.words, lexicon()
    name = meaning.lemma.removeprefix("relation ")
    edits = partial(replacement, words, term.first, term.last)
    if name in ("left", "right"):
        before, after = words.before(term.first), words.after(term.last)
        if before in _SIDE_BEFORE and after in _SIDE_AFTER | {""}:
            other = "right" if name == "left" else "left"
            lemma = f"relation {other}"
            yield Site("relation", meaning.lemma, [Option(other, lemma, frozenset({lemma}))], edits)
        return
    noun = parsed.noun_after(term.last)
    own = noun.meaning("noun") if noun is not None else None
    for old, new, before in RELATIONS:
        if old != name or words.after(term.last) in DENIALS | {""}:
            continue
        if old == "into" and not _FROM.isdisjoint(words.lower[: term.first]):
            continue  # "off a bridge into the water" has no other way round
        if before and (own is None or own.lemma not in known.resolve(before)):
            continue
        lemma = f"relation {new}"
        kind = "negation" if new == "without" else "relation"
        same = {lemma} | known.near.get(lemma, frozenset())
        pairs = frozenset((one, own.lemma) for one in same) if own is not None else frozenset()
        yield Site(kind, meaning.lemma, [Option(new, lemma, frozenset())], edits, pairs)


def _numbers(parsed: Parsed) -> Iterator[Site]:
    words = parsed.words
    spans = find_numbers(words.text)
    if not spans:
        return
    places = {start: place for place, start in enumerate(words.starts)}
    for span in spans:
        place = places.get(span.start)
        if place is None or words.ends[place] != span.end:
            continue  # within a compound
        if not words.stands_free(place, place) or words.is_name(place, place):
            continue
        after = words.after(place)
        if not after or after in _UNITS or words.before(place) in _MINUS_NUMBER:
            continue
        options = [o for number, o in NUMBER_OPTIONS.items() if number != span.count]
        edits = partial(replacement, words, place, place)
        yield Site("number", f"number {span.count}", options, edits)
