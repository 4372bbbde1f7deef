"""The captions of a sample that are read for numbers, and those that no training may see."""

import json
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

from data_tools.counting.claims import Parsed, parse
from data_tools.errors import InputError
from data_tools.tables import SUFFIXES, read_rows
from vlp.data.source import RawSample

CaptionChoice = Literal["first", "all"]
_FIELDS = ("caption", "captions", "text")


def read_captions(sample: RawSample, choice: CaptionChoice) -> list[tuple[int, str, Parsed]]:
    """(place, caption, what it counts) of the source caption, or of all captions of a sample.

    Raises:
        UnusableSampleError: it has none.
    """
    own = sample.captions()
    chosen = own[:1] if choice == "first" else own
    return [(place, text, parse(text)) for place, text in enumerate(chosen)]


def normalised(caption: str) -> str:
    """A caption as it is compared: without case, accents of width, punctuation, extra spaces."""
    plain = unicodedata.normalize("NFKC", caption).casefold()
    return " ".join(re.findall(r"\w+", plain))


@cache
def read_excluded(path: Path) -> frozenset[str]:
    """The captions of a benchmark, `normalised`: CountBench's .json, a table, or .txt with lines.

    Raises:
        InputError: the file holds no captions.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".json":
            captions = list(_texts(json.loads(path.read_text(encoding="utf-8")), path))
        elif suffix in SUFFIXES:
            captions = [text for row in read_rows(path) for text in _texts(row.values, path)]
        elif suffix == ".txt":
            captions = path.read_text(encoding="utf-8-sig").splitlines()
        else:
            raise InputError(
                f"--exclude-captions {path}: expected .json, .txt or {', '.join(SUFFIXES)}"
            )
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"--exclude-captions {path}: {error}") from None
    found = frozenset(filter(None, map(normalised, captions)))
    if not found:
        raise InputError(f"--exclude-captions {path}: no caption")
    return found


def _texts(value: Any, path: Path) -> Iterator[str]:  # noqa: ANN401 (what a file holds)
    """Captions in what JSON holds: a text, a list of any of these, or an object with a field."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, path)
    elif isinstance(value, dict):
        name = next((name for name in _FIELDS if value.get(name)), None)
        if name is None:
            raise InputError(
                f"--exclude-captions {path}: expected one of the fields {', '.join(_FIELDS)}, "
                f"got {', '.join(map(str, value))}"
            )
        yield from _texts(value[name], path)
    else:
        raise InputError(f"--exclude-captions {path}: expected texts, got {value!r:.80}")
