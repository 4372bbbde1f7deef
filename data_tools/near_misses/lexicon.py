"""The word lists as one dictionary: what each word may mean, and what can take its place."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from data_tools.near_misses import attributes, nouns
from data_tools.plurals import plural
from data_tools.word_lists import word_set

_ONLY_PLURAL = word_set(
    "shorts pants jeans trousers sneakers boots sandals flops heels woods clothes glasses "
    "sunglasses trunks"
)
_FIXED_LEMMA = "fixed"


class Meaning(NamedTuple):
    """What a word may be.

    Args:
        kind: of near miss: noun, colour, size, ...; "relation"; "fixed" for a part of an idiom.
        lemma: what it means: its kind and the first of the words that mean the same.
        group: of what it can be exchanged with; "" for a word that is known only.
        form: singular, plural, either or mass of nouns; base, s or ing of verbs; else "".
    """

    kind: str
    lemma: str
    group: str
    form: str


class Option(NamedTuple):
    """What may be put in, and the lemmas of which none may be said of the picture then."""

    word: str
    lemma: str
    blockers: frozenset[str]


Term = tuple[tuple[str, ...], tuple[Meaning, ...]]  # its words, and what they may mean


@dataclass
class Lexicon:
    """All words.

    Args:
        terms: by their first word, the longest first.
        options: by (group, lemma, form), without what is related to the lemma.
        above: the lemmas that may be said of it besides its own.
        within: the lemmas of a noun group or noun, by its name.
    """

    terms: Mapping[str, Sequence[Term]] = field(default_factory=dict)
    options: Mapping[tuple[str, str, str], Sequence[Option]] = field(default_factory=dict)
    near: Mapping[str, frozenset[str]] = field(default_factory=dict)
    above: Mapping[str, frozenset[str]] = field(default_factory=dict)
    within: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def resolve(self, names: str) -> frozenset[str]:
        """The lemmas that names of nouns and of noun groups, with commas, stand for."""
        found = (self.within.get(name, frozenset({f"noun {name}"})) for name in _listed(names))
        return frozenset().union(*found)

    def fingerprint(self) -> str:
        """sha256 of all lists."""
        related = [{k: sorted(v) for k, v in sets.items()} for sets in (self.near, self.above)]
        words = {key: [option.word for option in found] for key, found in self.options.items()}
        told = repr((sorted(self.terms.items()), sorted(words.items())))
        told += repr([sorted(sets.items()) for sets in related])
        return hashlib.sha256(told.encode()).hexdigest()

    def are_related(self, one: str, other: str) -> bool:
        """Whether both lemmas may be true of one thing."""
        return (
            one == other
            or other in self.near.get(one, ())
            or other in self.above.get(one, ())
            or one in self.above.get(other, ())
        )


class _Word(NamedTuple):
    text: str
    meaning: Meaning
    is_put_in: bool


@cache
def lexicon() -> Lexicon:
    """The dictionary of this package's lists."""
    words = [*_noun_words(), *_attribute_words(), *_action_words(), *_relation_words(), *_fixed()]
    lemma_of = {(word.meaning.kind, word.text): word.meaning.lemma for word in words}
    within: dict[str, set[str]] = defaultdict(set)
    for word in words:
        if word.meaning.kind == "noun":
            for name in (word.meaning.group, word.text):
                within[name].add(word.meaning.lemma)
    within.pop("", None)
    near = _near(lemma_of)
    above = _above(within)
    frozen = {name: frozenset(lemmas) for name, lemmas in within.items()}
    found = Lexicon(terms=_terms(words), near=near, above=above, within=frozen)
    found.options = _options(words, found)
    return found


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _synonyms(text: str) -> Iterator[tuple[str, list[tuple[str, bool]]]]:
    """(the first of words that mean the same, [(word, may it be put in)]) of a list."""
    for entry in _listed(text):
        members = [(part.strip().lstrip("~"), not part.strip().startswith("~"))
                   for part in entry.split("/")]  # fmt: skip
        yield members[0][0], members


def _noun_words() -> Iterator[_Word]:
    grouped: set[str] = set()
    for name, group in nouns.GROUPS.items():
        for first, members in _synonyms(group.words):
            for text, is_put_in in members:
                grouped.add(text)
                for form, shown in _noun_forms(text, group.is_mass):
                    yield _Word(shown, Meaning("noun", f"noun {first}", name, form), is_put_in)
    for text in sorted(_known_nouns() - grouped - set(nouns.GROUPS)):
        for form, shown in _noun_forms(text, False):
            yield _Word(shown, Meaning("noun", f"noun {text}", "", form), False)


def _noun_forms(text: str, is_mass: bool) -> Iterator[tuple[str, str]]:
    if is_mass:
        yield "mass", text
    elif text.split()[-1] in _ONLY_PLURAL:
        yield "plural", text
    elif plural(text) == text:
        yield "either", text
    else:
        yield "singular", text
        yield "plural", plural(text)


def _known_nouns() -> set[str]:
    """Nouns that no group has: they only tell what is said of the picture."""
    lists = [*nouns.NEAR, *(line.replace(":", ",") for line in nouns.ABOVE), *attributes.MADE_OF]
    lists += [names for s in attributes.SCALES for names in (s.before, s.not_before)]
    lists += [before for _, _, before in attributes.RELATIONS]
    known = {word for names in lists for word in _listed(names)} | {"child"}
    return known - {"people", "stairs", "steps", "sleeves", "chalk"}


def _attribute_words() -> Iterator[_Word]:
    lists = [
        ("colour", attributes.COLOURS, "colour"),
        ("material", attributes.MATERIALS, "material"),
    ]
    lists += [(s.kind, s.words, f"scale {i}") for i, s in enumerate(attributes.SCALES)]
    for kind, text, group in lists:
        for first, members in _synonyms(text):
            for word, is_put_in in members:
                meaning = Meaning(kind, f"{_space(kind)} {first}", group, "")
                yield _Word(word, meaning, is_put_in)


def _space(kind: str) -> str:
    """Sizes, ages and states share their lemmas, as a word may belong to two of them."""
    return kind if kind in ("colour", "material") else "attribute"


def _action_words() -> Iterator[_Word]:
    for place, row in enumerate(attributes.ACTIONS):
        for entry in _listed(row):
            forms = entry.split()
            lemma = f"action {forms[0].split('/')[0].lstrip('~')}"
            for form, shown in zip(("base", "s", "ing"), forms, strict=True):
                for part in shown.split("/"):
                    meaning = Meaning("action", lemma, f"action {place}", form)
                    yield _Word(part.lstrip("~"), meaning, not part.startswith("~"))


def _relation_words() -> Iterator[_Word]:
    known = {word for line in attributes.NEAR_RELATIONS for word in _listed(line)}
    known |= {old for old, _, _ in attributes.RELATIONS} | {"left", "right"}
    for text in sorted(known):
        yield _Word(text, Meaning("relation", f"relation {text}", "", ""), False)


def _fixed() -> Iterator[_Word]:
    for first, members in _synonyms(attributes.FIXED):
        stem = first.rpartition(" ")[0]
        for place, (text, _) in enumerate(members):
            shown = text if not place else f"{stem} {text}"
            yield _Word(shown, Meaning("fixed", _FIXED_LEMMA, "", ""), False)


def _terms(words: Iterable[_Word]) -> dict[str, list[Term]]:
    found: dict[tuple[str, ...], dict[Meaning, None]] = defaultdict(dict)
    for word in words:
        found[tuple(word.text.split())][word.meaning] = None
    terms: dict[str, list[Term]] = defaultdict(list)
    for parts in sorted(found, key=lambda parts: (-len(parts), parts)):
        terms[parts[0]].append((parts, tuple(found[parts])))
    return dict(terms)


def _near(lemma_of: Mapping[tuple[str, str], str]) -> dict[str, frozenset[str]]:
    """The lemmas that stand in a line with each lemma."""
    found: dict[str, set[str]] = defaultdict(set)
    for kind, lines in (
        ("noun", nouns.NEAR),
        ("colour", attributes.NEAR_COLOURS),
        ("action", attributes.NEAR_ACTIONS),
        ("relation", attributes.NEAR_RELATIONS),
        ("attribute", attributes.NEAR_ATTRIBUTES),
    ):
        for line in lines:
            lemmas = {lemma_of.get((kind, word), f"{kind} {word}") for word in _listed(line)}
            for lemma in lemmas:
                found[lemma] |= lemmas - {lemma}
    return {lemma: frozenset(others) for lemma, others in found.items()}


def _above(within: Mapping[str, set[str]]) -> dict[str, frozenset[str]]:
    """The lemmas that say the same with less, by lemma."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in nouns.ABOVE:
        upper, _, lower = line.partition(":")
        for name in _listed(lower):
            # a group's name may be a noun too: the group is meant
            for lemma in within.get(name, set()):
                found[lemma].add(f"noun {upper}")
    return {lemma: frozenset(uppers - {lemma}) for lemma, uppers in found.items()}


def _options(words: Iterable[_Word], known: Lexicon) -> dict[tuple[str, str, str], list[Option]]:
    groups: dict[str, list[_Word]] = defaultdict(list)
    for word in words:
        if word.meaning.group:
            groups[word.meaning.group].append(word)
    below: dict[str, set[str]] = defaultdict(set)
    for lemma, uppers in known.above.items():
        for upper in uppers:
            below[upper].add(lemma)
    found: dict[tuple[str, str, str], list[Option]] = {}
    for group, members in groups.items():
        put_in = {
            lemma: _blockers(lemma, known, below) for lemma in {w.meaning.lemma for w in members}
        }
        for lemma, form in {(w.meaning.lemma, w.meaning.form) for w in members}:
            for own in ("singular", "plural") if form == "either" else (form,):
                found[group, lemma, own] = [
                    Option(w.text, w.meaning.lemma, put_in[w.meaning.lemma])
                    for w in members
                    if w.is_put_in
                    and w.meaning.form in (own, "either" if own in ("singular", "plural") else own)
                    and not known.are_related(lemma, w.meaning.lemma)
                ]
    return found


def _blockers(lemma: str, known: Lexicon, below: Mapping[str, set[str]]) -> frozenset[str]:
    """What makes a word true of a picture if it is said of it, besides what is said in general."""
    return frozenset({lemma}) | known.near.get(lemma, frozenset()) | below.get(lemma, set())
