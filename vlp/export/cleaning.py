"""open_clip's cleaning of texts as a normalizer of `tokenizers`, for files that hold it as data.

open_clip cleans with ftfy, unescapes HTML, trims white space, and lower-cases (or strips
punctuation). What works a character at a time is the same here: quotes, ligatures, full-width
letters, control characters, composition (NFC), case. What looks at a whole text is left out, since
such a file has no place for it: HTML entities, and repair of text that was decoded wrongly.
"""

import string
from collections.abc import Callable, Mapping
from typing import Any

import open_clip.tokenizer
from ftfy.chardata import CONTROL_CHARS, LIGATURES, WIDTH_MAP
from ftfy.fixes import fix_c1_controls
from tokenizers import Regex, normalizers

LEFT_OUT = "HTML entities (&amp;) and wrongly decoded text are not repaired as in training"
_LOWER, _CANONICAL, _WHITESPACE = "lower", "canonicalize", "whitespace"
_KINDS = (_LOWER, _CANONICAL, _WHITESPACE)
# Python lower-cases a sigma at the end of a word to another letter than elsewhere
_FINAL_SIGMA = r"\p{Cased}\p{Case_Ignorable}*\KΣ(?!\p{Case_Ignorable}*\p{Cased})"


def kind_of(clean: Callable[[str], str]) -> str | None:
    """What open_clip calls this cleaning; None for one that it does not have."""
    return next((k for k in _KINDS if open_clip.tokenizer.get_clean_fn(k) is clean), None)


def normalizer(kind: str) -> normalizers.Normalizer:
    """The cleaning of that kind."""
    steps = [*_fixes(), normalizers.NFC()]
    if kind == _CANONICAL:
        steps.append(normalizers.Replace("_", " "))
        steps.append(normalizers.Replace(Regex(f"[{_escaped(string.punctuation)}]"), ""))
    if kind in (_CANONICAL, _LOWER):
        steps += [normalizers.Replace(Regex(_FINAL_SIGMA), "ς"), normalizers.Lowercase()]
    steps += [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    return normalizers.Sequence(steps)


def _fixes() -> list[Any]:
    """What ftfy does to single characters, in its order."""
    steps = [
        *_replacements({code: fix_c1_controls(chr(code)) for code in range(0x80, 0xA0)}),
        *_replacements(LIGATURES),
        *_replacements(WIDTH_MAP),
        normalizers.Replace(Regex("[\u02bc\u2018-\u201b]"), "'"),
        normalizers.Replace(Regex("[\u201c-\u201f]"), '"'),
        normalizers.Replace(Regex("\u001b\\[((?:\\d|;)*)([a-zA-Z])"), ""),
    ]
    removed = "".join(chr(code) for code, to in CONTROL_CHARS.items() if to is None)
    return [*steps, normalizers.Replace(Regex(f"[{_escaped(removed)}]"), "")]


def _replacements(table: Mapping[int, str]) -> list[Any]:
    return [normalizers.Replace(chr(code), to) for code, to in table.items() if chr(code) != to]


def _escaped(characters: str) -> str:
    """For a class of a regular expression."""
    return "".join(f"\\x{{{ord(c):x}}}" for c in characters)
