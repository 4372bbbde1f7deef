"""Captions of evaluation sets, which training is kept apart from, read from whatever holds them."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from data_tools.samples import TEXTS
from data_tools.tables import SUFFIXES, read_rows
from vlp.data.index import group_members
from vlp.errors import InputError

_NAMES = ("caption", "text", "title", "sentence", "description", "raw", "foil")
_FIELD = re.compile(rf"(^|[\W_])({'|'.join(_NAMES)})s?([\W\d_]|$)", re.IGNORECASE)
_FILES = (".txt", ".json", *SUFFIXES)
_ARTICLES = ("a", "an", "the")
_SHOWN = 10  # fields in a message


def normalised(text: str) -> str:
    """What two texts that say the same in the same words have in common; "" without a word.

    Case, width, punctuation, white space and articles do not count.
    """
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(word for word in words if word not in _ARTICLES)


def fingerprint(captions: Collection[str]) -> str:
    """sha256 of different captions, in any order."""
    return hashlib.sha256("\n".join(sorted(captions)).encode()).hexdigest()


@cache
def evaluation_captions(places: tuple[str, ...], option: str) -> Mapping[str, str]:
    """The captions of files and folders: `normalised` caption -> where it stands first.

    A .txt holds one a line. In tables (.csv, .tsv, .jsonl, .parquet), in .json and in the .json of
    tars, fields count, however deep, that are named caption, text, title, sentence, description,
    raw or foil, also in the plural or with more words (negative_caption, caption_0). A .json may be
    a list of texts. A folder stands for the tars below it, or for the other files where it has no
    tar, as what lies beside tars tells of the same samples.

    Args:
        option: that was given the places, for messages.

    Raises:
        InputError: nothing is there, it cannot be read, or no caption is in it.
    """
    found: dict[str, str] = {}
    for path in map(Path, places):
        for file in _files(path, option):
            fields: dict[str, None] = {}
            try:
                captions = [(normalised(text), where) for where, text in _captions(file, fields)]
            except InputError as error:
                raise InputError(f"{option} {error}") from None
            except (OSError, ValueError, RecursionError) as error:
                raise InputError(f"{option} {file}: {error}") from None
            if not any(text for text, _ in captions):
                others = list(fields)[:_SHOWN]
                told = f"; the fields there are {', '.join(others)}" if others else ""
                raise InputError(
                    f"{option} {file}: no caption found{told}; expected lines (.txt), a list of "
                    f"texts (.json), or fields such as {', '.join(_NAMES)}"
                )
            for text, where in captions:
                if text:
                    found.setdefault(text, where)
    return found


def _files(path: Path, option: str) -> list[Path]:
    if not path.exists():
        raise InputError(f"{option} {path}: no such file or folder")
    below = sorted(path.rglob("[!.]*")) if path.is_dir() else [path]
    tars = [file for file in below if file.suffix.lower() == ".tar"]
    files = tars or [file for file in below if file.suffix.lower() in _FILES]
    if not files:
        raise InputError(f"{option} {path}: no caption found; expected .tar, {', '.join(_FILES)}")
    return files


def _captions(file: Path, fields: dict[str, None]) -> Iterator[tuple[str, str]]:
    """(where it stands, caption); `fields` gets the names of all others."""
    suffix = file.suffix.lower()
    if suffix == ".txt":
        for number, line in enumerate(file.read_text("utf-8-sig").splitlines(), 1):
            yield f"{file}, line {number}", line
    elif suffix == ".json":
        value = json.loads(file.read_text("utf-8-sig"))
        for text in _inside(value, fields, is_caption=not isinstance(value, dict)):
            yield str(file), text
    elif suffix == ".tar":
        yield from _of_tar(file, fields)
    else:
        for row in read_rows(file):
            for text in _inside(row.values, fields):
                yield row.place, text


def _of_tar(file: Path, fields: dict[str, None]) -> Iterator[tuple[str, str]]:
    with open(file, "rb") as tar:
        for key, members in group_members(file).items():
            for extension in TEXTS:
                if extension not in members:
                    continue
                tar.seek(members[extension].offset)
                text = tar.read(members[extension].size).decode("utf-8")
                is_text = extension == "txt"
                lines = text.splitlines() if is_text else _inside(json.loads(text), fields)
                for line in lines:
                    yield f"{file}:{key}", line


def _inside(
    value: Any,  # noqa: ANN401 (any JSON)
    fields: dict[str, None],
    is_caption: bool = False,
) -> Iterator[str]:
    """The texts below fields of captions; the names of the other fields go into `fields`."""
    if isinstance(value, str) and is_caption:
        yield value
    elif isinstance(value, list):
        for entry in value:
            yield from _inside(entry, fields, is_caption)
    elif isinstance(value, dict):
        for name, entry in value.items():
            matches = _FIELD.search(name) is not None
            if not matches:
                fields[name] = None
            yield from _inside(entry, fields, matches)
