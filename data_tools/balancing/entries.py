"""A metadata list, and its entries found in captions as MetaCLIP finds them (Xu et al., 2023).

A caption is padded with spaces, each of , . ; : ? ! ` gets one on both sides, and an entry is in
it as " entry ". All entries are looked for at once by Aho-Corasick, which takes one pass however
many there are.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from vlp.errors import InputError

_SPACING = str.maketrans(
    {sign: f" {sign} " for sign in ",.;:?!`"} | {"\t": " ", "\n": " ", "\r": " "}
)
# what no spaced text can hold
_NEVER = re.compile(r"[^ ][,.;:?!`]|[,.;:?!`][^ ]|[\t\n\r]")


@dataclass(frozen=True)
class Entries:
    """The entries of a metadata list, each once, in its order."""

    texts: tuple[str, ...]
    duplicates: int
    empty: int
    sha256: str  # of the entries

    @property
    def never(self) -> list[str]:
        """Those that can be in no caption, because punctuation in captions stands apart."""
        return [text for text in self.texts if _NEVER.search(f" {text} ")]


@lru_cache(maxsize=2)
def read_entries(path: Path, ignore_case: bool) -> Entries:
    """The entries of a list: .txt with one a line, or .json with a list of texts.

    Raises:
        InputError: it cannot be read, or has no entry.
    """
    given = [text.lower() if ignore_case else text for text in _given(path)]
    stripped = [text.strip() for text in given]
    texts = tuple(dict.fromkeys(text for text in stripped if text))
    if not texts:
        raise InputError(f"--metadata {path}: no entry")
    empty = stripped.count("")
    digest = hashlib.sha256("\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
    return Entries(texts, len(given) - empty - len(texts), empty, digest)


def _given(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix != ".json":
            return text.splitlines()
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(f"--metadata {path}: {error}") from None
    if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
        raise InputError(f"--metadata {path}: expected a list of texts")
    return found


class Matcher:
    """Finds the entries of a list in texts. Building it takes seconds for 100,000s of entries."""

    def __init__(self, entries: Sequence[str], ignore_case: bool = False) -> None:
        self._ignore_case = ignore_case
        self._automaton = _automaton()
        for place, entry in enumerate(entries):
            self._automaton.add_word(f" {entry} ", place)
        self._automaton.make_automaton()

    def __call__(self, text: str) -> set[int]:
        """The places in the list of all entries that a text holds."""
        spaced = spacing(text.lower() if self._ignore_case else text)
        return {place for _, place in self._automaton.iter(spaced)}


def spacing(text: str) -> str:
    """A text with spaces around it and around punctuation, as MetaCLIP matches it."""
    return f" {text} ".translate(_SPACING)


@lru_cache(maxsize=1)
def matcher(path: Path, sha256: str, ignore_case: bool) -> Matcher:
    """The matcher of a list, built once in a process.

    Raises:
        InputError: the list is not the one of this hash any more.
    """
    entries = read_entries(path, ignore_case)
    if entries.sha256 != sha256:
        raise InputError(f"--metadata {path}: it was changed while the command ran")
    return Matcher(entries.texts, ignore_case)


def _automaton() -> Any:  # noqa: ANN401 (a class without types)
    try:
        import ahocorasick
    except ImportError:
        raise InputError("balance needs pyahocorasick: pip install -e '.[curation]'") from None
    return ahocorasick.Automaton(ahocorasick.STORE_INTS)
