"""Near misses by rules: a few of all the places and words that would make a caption false."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from data_tools.eval_captions import normalised
from data_tools.near_misses.attributes import KINDS
from data_tools.near_misses.lexicon import Option
from data_tools.near_misses.parsing import Parsed
from data_tools.near_misses.picture import Picture
from data_tools.near_misses.sites import Site, replacements
from data_tools.near_misses.swaps import swaps
from data_tools.near_misses.tokens import Edit, applied

SWAPS = ("swap-nouns", "swap-attributes", "order")
NEGATION = "negation"
RULES = (*KINDS, *SWAPS, NEGATION)
_UNSEEN = 0.03  # of a word that no caption of the shard has, in occurrences

NO_WORD = "no word to change"
MAYBE_TRUE = "whatever is put in may be true by another caption"


@dataclass(frozen=True)
class NearMiss:
    """A false caption, and the edits of the true one that made it."""

    kind: str
    text: str
    edits: Sequence[Edit]


def frequencies(parsed: Iterable[Parsed]) -> Counter[str]:
    """How often each known word occurs. What is put in is drawn by it, as a word that captions
    seldom have would give near misses away.
    """
    found: Counter[str] = Counter()
    for one in parsed:
        words = one.words
        found.update(" ".join(words.lower[t.first : t.last + 1]) for t in one.found)
    return found


class Rules:
    """Draws near misses.

    Args:
        kinds: of `RULES`.
        most: near misses a caption.
        frequency: of words, see `frequencies`.
        excluded: normalised texts that must not come out.
    """

    def __init__(
        self,
        kinds: Collection[str],
        most: int,
        frequency: Mapping[str, int],
        excluded: Collection[str] = (),
    ) -> None:
        self.kinds = frozenset(kinds)
        self.most = most
        self.frequency = frequency
        self.excluded = excluded

    def near_misses(
        self, parsed: Parsed, picture: Picture, rng: Random
    ) -> tuple[list[NearMiss], str]:
        """Near misses of a caption, and why there are none where there are none."""
        sites = [site for site in _sites(parsed) if site.kind in self.kinds]
        if not sites:
            return [], NO_WORD
        queues: dict[str, list[Iterator[list[Edit]]]] = defaultdict(list)
        for site in sites:
            queues[site.kind].append(self._drawn(site, picture, rng))
        kinds = list(queues)
        rng.shuffle(kinds)
        found: dict[str, NearMiss] = {}
        while kinds and len(found) < self.most:
            for kind in list(kinds):
                if len(found) == self.most:
                    break
                near_miss = self._next(kind, queues[kind], parsed, picture, found, rng)
                if near_miss is None:
                    kinds.remove(kind)
                else:
                    found[normalised(near_miss.text)] = near_miss
        return list(found.values()), "" if found else MAYBE_TRUE

    def _next(
        self,
        kind: str,
        queue: list[Iterator[list[Edit]]],
        parsed: Parsed,
        picture: Picture,
        found: Collection[str],
        rng: Random,
    ) -> NearMiss | None:
        """The next near miss of a kind, from one of its places by lot."""
        text = parsed.words.text
        while queue:
            place = rng.randrange(len(queue))
            edits = next(queue[place], None)
            if edits is None:
                del queue[place]
                continue
            made = applied(text, edits)
            told = normalised(made)
            if told not in picture.texts and told not in self.excluded and told not in found:
                return NearMiss(kind, made, edits)
        return None

    def _drawn(self, site: Site, picture: Picture, rng: Random) -> Iterator[list[Edit]]:
        """The edits of a place, in an order drawn by how frequent the words are.

        By the keys u^(1/w) of Efraimidis & Spirakis (2006).
        """
        options = [o for o in site.options if picture.denies(site.lemma, o, site.pairs)]
        if len(options) > 1:
            keys = [
                rng.random() ** (1 / (self.frequency.get(o.word, 0) + _UNSEEN)) for o in options
            ]
            order = sorted(range(len(options)), key=keys.__getitem__, reverse=True)
            options = [options[place] for place in order]
        for option in options:
            yield site.edits(option.word)


def _sites(parsed: Parsed) -> Iterator[Site]:
    yield from replacements(parsed)
    yield from swaps(parsed)
    yield from _negations(parsed)


def _negations(parsed: Parsed) -> Iterator[Site]:
    """ "A man is riding" -> "A man is not riding"."""
    words = parsed.words
    for place, word in enumerate(words.lower[:-1]):
        if word in ("is", "are") and words.after(place).endswith("ing"):
            edits = [Edit(words.ends[place], words.ends[place], " not")]
            yield Site(NEGATION, "", [Option("", "", frozenset())], lambda _, e=edits: e)  # type: ignore[misc]
