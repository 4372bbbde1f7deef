"""The words of a caption as coco-caption counts them, without its Java tokenizer.

coco-caption runs Stanford's PTBTokenizer with lower-casing and drops a list of punctuation from the
outcome. This follows the same rules for what captions hold: clitics are words of their own ("dog
's", "do n't"), hyphens, slashes and single points join, brackets are spelled out. Brackets stay, as
they do there: the list names them in capitals, but lower-casing comes first. Of 41,651 captions of
COCO and Flickr8k one is split otherwise ("at&t"); in texts of web pages one in forty is.
"""

import re

_BRACKET_WORDS = ("-LRB-", "-RRB-", "-LCB-", "-RCB-")
_QUOTES = ("''", "'", "``", "`")
PUNCTUATION = frozenset(  # coco-caption's list
    (*_QUOTES, *_BRACKET_WORDS, ".", "?", "!", ",", ":", "-", "--", "...", ";")
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_PLAIN = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "--", "—": "--", "…": "...", "€": "$"}
    | {"½": " 1/2", "¼": " 1/4", "¾": " 3/4", "´": "'"}
)
_TITLES = (
    "mr mrs ms dr st prof gen sen rep gov lt col sgt capt rev hon jr sr vs etc inc co corp ltd"
)
_PLACES = "bros ave blvd rd mt ft jan feb mar apr jun jul aug sep sept oct nov dec"
_SHORT = "|".join([*_TITLES.split(), *_PLACES.split()])
_TOKEN = re.compile(
    rf"""
      [()\[\]{{}}] | ''+ | '\d0s\b | 'n'(?!\w) | '(?:s|re|ve|ll|m|d|em)\b
    | n't\b | (?:[^\W\d_]\.){{2,}} | [^\W\d_]\.(?!\S) | (?:{_SHORT})\.(?!\w) | no\.(?=\s?\d)
    | \d+(?:[.,:/]\d+)+(?![\w-]) | \#(?=\d)
    | [#@]?\w+(?:(?:[-/&.@]+|'(?=clock\b|er\b))\w+)*
    | \.+ | [?!]+ | -+ | \S
    """,
    re.VERBOSE,
)
_MARKS = ({"."}, {"-"}, {'"'}, {"'"})  # of any length
_CONTRACTIONS = {
    "cannot": "can not",
    "gonna": "gon na",
    "wanna": "wan na",
    "gotta": "got ta",
    "gimme": "gim me",
    "lemme": "lem me",
}


def caption_words(text: str) -> list[str]:
    """The lower-case words of one caption, punctuation dropped."""
    plain = re.sub(r"(\w)(n't)\b", r"\1 \2", text.lower().translate(_PLAIN))
    words: list[str] = []
    for token in _TOKEN.findall(plain):
        words += _CONTRACTIONS.get(token, _BRACKETS.get(token, token)).split()
    return [word for word in words if word not in PUNCTUATION and set(word) not in _MARKS]
