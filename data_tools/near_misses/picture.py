"""What is said of a picture in all its texts, by which a near miss may be true after all."""

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from data_tools.eval_captions import normalised
from data_tools.near_misses.lexicon import Option, lexicon
from data_tools.near_misses.parsing import Parsed
from vlp.data.numbers import NUMBERS, find_numbers


@dataclass(frozen=True)
class Picture:
    """All that the captions and rewrites of a picture say.

    Args:
        texts: normalised; no near miss may be one of them.
        mentions: lemmas, and numbers as "number 3".
        several: the lemmas of nouns in the plural.
        described: (attribute or relation, noun), and ("before NOUN", noun) of nouns in their order.
    """

    texts: frozenset[str]
    mentions: frozenset[str]
    several: frozenset[str]
    described: frozenset[tuple[str, str]] = field(default_factory=frozenset)

    @classmethod
    def of(cls, parsed: Sequence[Parsed], labels: Iterable[str] = ()) -> "Picture":
        """The picture of these texts; `labels` name what was seen in it otherwise."""
        seen = [Parsed.of(label) for label in labels]
        everything = [*parsed, *seen]
        return cls(
            texts=frozenset(normalised(one.words.text) for one in parsed),
            mentions=frozenset().union(
                *(one.mentions for one in everything), *(_numbers(one) for one in parsed)
            ),
            several=frozenset().union(*(one.several for one in everything)),
            described=frozenset().union(*(one.described | _orders(one) for one in parsed)),
        )

    def denies(self, lemma: str, option: Option, pairs: Collection[tuple[str, str]] = ()) -> bool:
        """Whether nothing that is said makes `option` true where a text has `lemma`."""
        if not self.mentions.isdisjoint(option.blockers) or not self.described.isdisjoint(pairs):
            return False
        above = lexicon().above
        uppers = above.get(option.lemma)
        if not uppers or self.mentions.isdisjoint(uppers):
            return True
        shared = above.get(lemma, frozenset())
        # "an animal" is the dog itself; "animals" or "a bird" may be the duck that is put in
        return all(
            upper in shared and upper not in self.several for upper in uppers & self.mentions
        )


def _numbers(parsed: Parsed) -> frozenset[str]:
    text = parsed.words.text
    spelled = {f"number {span.count}" for span in find_numbers(text)}
    digits = {f"number {word}" for word in parsed.words.lower if word.isdigit()}
    return frozenset(spelled | digits)


def _orders(parsed: Parsed) -> frozenset[tuple[str, str]]:
    lemmas = [meaning.lemma for _, meaning in parsed.nouns()]
    return frozenset((f"before {one}", other) for one, other in itertools.pairwise(lemmas))


NUMBER_OPTIONS = {
    number: Option(word, f"number {number}", frozenset({f"number {number}"}))
    for number, word in NUMBERS.items()
}
