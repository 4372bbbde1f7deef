"""Number words that count nothing in a picture: ages, times, units, titles, parts of more."""

import re
from dataclasses import dataclass

from data_tools.plurals import singular
from data_tools.word_lists import words
from vlp.data.numbers import NUMBERS, NumberSpan

_NUMBER = rf"(?:one|{'|'.join(NUMBERS.values())}|\d+)"
_TIMES = words("second minute hour day night week weekend month year decade century season")
_UNITS = words(
    "inch foot metre meter centimetre centimeter millimetre millimeter kilometre kilometer cm "
    "mm km mile yard acre hectare gram gramme kilogram kilo kg pound lb ounce oz ton tonne "
    "litre liter gallon quart pint percent degree watt volt amp megapixel gigabyte megabyte "
    "mph kph knot carat ply point gauge"
)
_PRICES = words("dollar euro penny cent buck quid rupee")
# with a word in the singular the number tells of what follows: "two story house"
_COMPOUNDS = words(
    "story storey tier lane door piece layer level bedroom bathroom star part way wheel "
    "wheeled seat seater tone sided dimensional speed wheeler legged person man family colour "
    "color course panel button burner hole engine mast masted fold toed footed headed handed "
    "row drawer shelf player pin blade car horse"
)
_LABELS = words("number no part chapter episode season volume vol version formula apollo phase")
_PLACES = words("room gate platform pier route terminal level section day")
_NAMES = words("big final top fantastic magnificent hateful furious jackson maroon")
_NAMED = words("wonders seas sins dwarfs dwarves commandments musketeers stooges kingdoms")
# nouns that stand for several things, or for no things
_COLLECTIONS = words(
    "pair row group set kind type variety bunch stack pile team couple line style size colour "
    "color shade way view step time part half third dozen side version angle series species"
)


def _any(choices: tuple[str, ...], plural: str = "(?:e?s)?") -> str:
    return rf"(?:{'|'.join(choices)}){plural}\b"


@dataclass(frozen=True)
class _Rule:
    """A reason and what has to stand before or behind the number word."""

    reason: str
    before: str | None = None
    behind: str | None = None

    def holds(self, before: str, behind: str) -> bool:
        if self.before is not None and re.search(rf"(?:{self.before})\Z", before):
            return True
        return bool(self.behind and re.match(self.behind, behind))


_RULES = (
    _Rule("price", r"[$€£]\s*", rf"[-\s]+(?:us |american )?{_any(_PRICES)}"),
    _Rule("size", rf"\b{_NUMBER}\s*-?\s*(?:by|x|×)[-\s]+", rf"[-\s]+(?:by|x|×)[-\s]+{_NUMBER}\b"),
    _Rule(
        "range",
        rf"\b{_NUMBER}\s*(?:-|–|/|\bto\b|\bor\b)\s*",
        rf"\s*(?:-|–|/|\bto\b|\bor\b)\s*{_NUMBER}\b|\s+or (?:more|so|fewer|less)\b",
    ),
    _Rule(
        "fraction",
        behind=r"[-\s]+(?:hal(?:f|ves)|thirds?|quarters?|fourths?|fifths?|sixths?|eighths?|tenths?)"
        r"\b|\s+and a half\b",
    ),
    _Rule(
        "age",
        r"\b(?:aged?|ages|turn(?:s|ed|ing)?)\s+(?:of\s+)?",
        r"[-\s]+(?:years?|yrs?|months?|weeks?|days?)[-\s]+olds?\b",
    ),
    _Rule(
        "time",
        r"\b(?:half|quarter) (?:past|to)\s+",
        rf"\s+o\s?['’]?\s?clock\b|[-\s]+(?:[ap]\.?m\b|{_any(_TIMES)})",
    ),
    _Rule("unit", None, rf"[-\s]+(?:square |cubic |fluid )?(?:feet\b|{_any(_UNITS)})"),
    _Rule("compound", None, rf"-\w|[-\s]+{_any(_COMPOUNDS, '')}"),
    _Rule(
        "label",
        rf"\b{_any(_LABELS, '')}\.?\s+|\w-|(?<!\bthe )(?<!\ba )(?<!\bthis )\b{_any(_PLACES, '')}\s",
    ),
    _Rule("title", rf"\b{_any(_NAMES, '')}\s+|\bgroup of\s+(?=seven\b)", rf"\s+{_any(_NAMED, '')}"),
    _Rule(
        "part",
        r"\b(?:one|some|most|either|out|many|half) of\s+"
        r"(?:(?:the|these|those|his|her|their|its|my|our)\s+)?",
        r"\s+(?:out )?of\s+(?:the|these|those|his|her|their|its|my|our|them|us|which|whom)\b",
    ),
    _Rule(
        "bound",
        r"\b(?:at ?least|at ?most|(?:more|less|fewer|greater|other) than|up to|not|nearly|almost|"
        r"approximately|roughly|maximum|minimum)\s+",
    ),
    _Rule(
        "of more",
        r"\b(?:other|another|remaining)\s+",
        r"\s+(?:more|others?|additional|extra)\b",
    ),
    _Rule("idiom", None, r"\s+(?:in|on|for|at|by) (?:one|a row|a time|a line)\b"),
)
EXCLUSIONS = (*(rule.reason for rule in _RULES), "collection", "shared")


def excluded(text: str, span: NumberSpan) -> str | None:
    """Why a number word does not count objects, by the words around it; None where it may.

    The reason is one of `EXCLUSIONS`.
    """
    before, behind = text[: span.start].lower(), text[span.end :].lower()
    for rule in _RULES:
        if rule.holds(before, behind):
            return rule.reason
    return "title" if _is_name(text, span) else None


def excluded_noun(noun: str) -> str | None:
    """Why things of this name are not counted: "hours", "feet", "rows"; None where they may be."""
    one = singular(noun)
    if one in _TIMES:
        return "time"
    if one in _UNITS:
        return "unit"
    if one in _PRICES:
        return "price"
    return "collection" if one in _COLLECTIONS else None


def _is_name(text: str, span: NumberSpan) -> bool:
    """Whether the word is a capital of a name in a text that is written small elsewhere."""
    word = text[span.start : span.end]
    if not word[0].isupper() or word.isupper():
        return False
    before = re.search(r"(\w+)\s\Z", text[: span.start])
    if before is None or not before[1][0].isupper():
        return False
    others = re.findall(r"[^\W\d_]+", text[: span.start] + text[span.end :])
    small = sum(1 for other in others if other[0].islower())
    return small * 2 >= len(others)
