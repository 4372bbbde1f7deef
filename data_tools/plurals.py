"""English nouns in the singular and the plural, by rules and a few lists."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from data_tools.word_lists import word_set

_IRREGULAR: Mapping[str, str] = MappingProxyType(
    {
        "people": "person",
        "persons": "person",
        "folk": "person",
        "folks": "person",
        "children": "child",
        "feet": "foot",
        "teeth": "tooth",
        "geese": "goose",
        "mice": "mouse",
        "lice": "louse",
        "oxen": "ox",
        "cattle": "cow",
        "dice": "die",
        "cacti": "cactus",
        "fungi": "fungus",
        "octopi": "octopus",
        "axes": "axe",
        "lenses": "lens",
        "canvases": "canvas",
        "atlases": "atlas",
        "gases": "gas",
        "shoes": "shoe",
        "horseshoes": "horseshoe",
        "snowshoes": "snowshoe",
        "toes": "toe",
        "canoes": "canoe",
        "caches": "cache",
        "moustaches": "moustache",
        "mustaches": "mustache",
        "avalanches": "avalanche",
        "quiches": "quiche",
        "loaves": "loaf",
        "leaves": "leaf",
        "thieves": "thief",
        "chefs": "chef",
        "foxes": "fox",
        "quizzes": "quiz",
    }
)
_IRREGULAR_PLURALS: Mapping[str, str] = MappingProxyType(
    {one: several for several, one in reversed(list(_IRREGULAR.items())) if several != "cattle"}
)  # of several plurals the first
_SAME = word_set(
    "sheep fish deer bison buffalo moose elk salmon trout shrimp squid swine reindeer aircraft "
    "spacecraft hovercraft offspring samurai series species"
)  # one and several are the same word
# -ves of -f and -fe; others (gloves, waves, olives) only lose their s
_F, _FE = "cal|hal|wol|shel|el|scar|hoo|dwar|whar", "kni|wi|li"
_FROM_F = re.compile(rf"(?P<stem>\w*(?:{_F}|{_FE}))ves")
_TO_VES = re.compile(rf"(?P<stem>\w*(?:{_F}))f|(?P<other>\w*(?:{_FE}))fe")
_TO_OES = word_set("potato tomato hero echo torpedo mosquito")
_OLIVE = re.compile(r"\w*(?:olives|valves|delves|twelves|drives)")
_SHORT_IES = word_set(
    "tie pie die lie movie cookie zombie brownie selfie hoodie smoothie collie genie birdie "
    "bootie rookie prairie necktie pixie eerie calorie beanie veggie foodie hippie cutie magpie "
    "menagerie bowtie goalie newbie doggie horsie"
)
_FROM_US = re.compile(
    r"\w*(?:bus|minibus|walrus|octopus|virus|cactus|platypus|hippopotamus|crocus)es"
)
_DOUBLE_Z = re.compile(r"\w+(?:ch|sh|ss|x|zz|tz)es")
# words that end in s and are no plurals; the last ones are verbs, where a noun was left out
_NO_PLURAL = word_set(
    "gas lens yes always besides towards across as was has does its his this perhaps sometimes "
    "canvas christmas texas plus minus versus lots less bias atlas news mathematics sports arms "
    "mars venus upstairs downstairs outdoors indoors overseas afterwards backwards adidas jesus "
    "james us athletics gymnastics politics electronics physics is thus alas haas swiss maths "
    "vs kansas dallas vegas paris los las des les wales netherlands sits stands holds wears "
    "looks eats gets goes takes makes puts tries stares leans lays shows says features includes "
    "contains comes appears enjoys seems becomes gives"
)
_PLURAL_IS = word_set(
    "skis taxis kiwis bikinis zucchinis khakis martinis paninis rabbis corgis safaris emojis saris"
)
_PLURAL_US = word_set("menus emus gnus tutus")
_OF_MEN = (("men", "man"), ("children", "child"), ("people", "person"))
_NO_MEN = word_set("specimen omen semen yemen acumen")
_NO_MAN = word_set("human german roman norman ottoman caiman shaman talisman")


def is_plural(word: str) -> bool:
    """Whether a word can be the plural of a noun; of one in s that stands for one, False."""
    word = word.lower()
    if word in _IRREGULAR or word.endswith("fish") or word in _SAME or _of_men(word):
        return True
    if not word.endswith("s") or len(word) < 3 or word in _NO_PLURAL:
        return False
    if word.endswith("is"):
        return word in _PLURAL_IS
    if word.endswith("us"):
        return word in _PLURAL_US
    return not word.endswith(("ss", "'s", "’s"))


def singular(word: str) -> str:
    """One of a noun, in lower case: dogs -> dog, women -> woman; no plural stays as it is."""
    word = word.lower()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if _of_men(word):
        return _of_men(word)
    if word in _SAME or word.endswith("fish") or not is_plural(word):
        return word
    if (found := _FROM_F.fullmatch(word)) and not _OLIVE.fullmatch(word):
        return found["stem"] + ("fe" if found["stem"].endswith(("kni", "wi", "li")) else "f")
    if word.endswith("ies"):
        return word[:-1] if word[:-1] in _SHORT_IES else word[:-3] + "y"
    if _FROM_US.fullmatch(word) or _DOUBLE_Z.fullmatch(word):
        return word[:-2]
    if word.endswith("oes"):
        return word[:-2]
    return word[:-1]


def _of_men(word: str) -> str:
    """The singular of what ends in men, children or people, or nothing."""
    for several, one in _OF_MEN:
        if word.endswith(several) and word not in _NO_MEN:
            return word.removesuffix(several) + one
    return ""


def plural(noun: str) -> str:
    """Several of a noun in lower case: dog -> dogs, pair of skis -> pairs of skis.

    What is a plural already by the lists stays as it is.
    """
    head, of, rest = noun.partition(" of ")
    if of:
        return f"{plural(head)}{of}{rest}"
    before, space, last = noun.rpartition(" ")
    return f"{before}{space}{_plural(last)}"


def _plural(word: str) -> str:
    if word in _IRREGULAR or word in _SAME or word.endswith("fish"):
        return word
    if word in _IRREGULAR_PLURALS:
        return _IRREGULAR_PLURALS[word]
    for several, one in _OF_MEN:
        if word.endswith(one) and word not in _NO_MAN:
            return word.removesuffix(one) + several
    if found := _TO_VES.fullmatch(word):
        return (found["stem"] or found["other"]) + "ves"
    if word in _TO_OES or word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in ("a", "e", "i", "o", "u"):
        return word[:-1] + "ies"
    return word + "s"
