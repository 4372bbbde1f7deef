"""Captions of evaluation sets, read from whatever holds them, and compared without their dress.

Two captions are equal when their words are: case, punctuation, width and spaces do not count.
"""

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_tools.annotate import HEAD, Made, Recipe
from data_tools.errors import InputError
from data_tools.samples import TEXTS, read_samples
from data_tools.tables import SUFFIXES, read_rows
from vlp.data.index import group_members
from vlp.data.source import UnusableSampleError

_FIELDS = ("caption", "captions", "text", "texts", "raw")  # COCO, CountBench, Karpathy's splits


def caption_recipe(name: str) -> Recipe:
    """Of the hidden sidecar with the hashes of each sample's captions."""
    return Recipe(
        name=f"{name}/.captions",
        schema=pa.schema([*HEAD, ("captions", pa.list_(pa.uint64()))]),
        settings={"signature": "captions", "version": 1},
        what="hashing captions",
    )


def hash_captions(shard: Path, arguments: None) -> Made:
    """The hashes of every caption of each sample; none where it has no readable one."""
    del arguments
    rows = []
    for sample in read_samples(shard, TEXTS):
        try:
            hashes = [hash_caption(text) for text in sample.captions()]
        except UnusableSampleError:
            hashes = []
        found = sorted({number for number in hashes if number is not None})
        rows.append({"key": sample.key, "src_sha256": sample.src_sha256, "captions": found})
    return Made(rows, Counter(samples=len(rows)))


def hash_caption(text: str) -> int | None:
    """64 bits of sha256 of the words; None where there are none."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
    if not words:
        return None
    return int.from_bytes(hashlib.sha256(" ".join(words).encode()).digest()[:8])


def read_captions(place: str) -> dict[int, str]:
    """The captions of a file, a tar or a folder of these: hash -> where it stands.

    A .txt holds one a line; in tables, .json and tars' .json the fields caption, captions, text,
    texts and raw count, however deep.

    Raises:
        InputError: nothing is there, or no caption is in it.
    """
    path = Path(place)
    if not path.exists():
        raise InputError(f"--captions {place}: no such file or folder")
    files = [path]
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.suffix == ".tar" and f.name[0] != ".")
    found: dict[int, str] = {}
    for file in files:
        for name, text in _captions(file):
            number = hash_caption(text)
            if number is not None:
                found.setdefault(number, name)
    if not found:
        raise InputError(
            f"--captions {place}: no caption found; expected lines (.txt), a table "
            f"({', '.join(SUFFIXES)}), .json or tars with the fields {', '.join(_FIELDS)}"
        )
    return found


def _captions(file: Path) -> Iterator[tuple[str, str]]:
    suffix = file.suffix.lower()
    try:
        if suffix == ".txt":
            for number, line in enumerate(file.read_text("utf-8-sig").splitlines(), 1):
                yield f"{file}, line {number}", line
        elif suffix == ".json":
            value = json.loads(file.read_text("utf-8-sig"))
            for text in _inside(value, named=isinstance(value, list)):
                yield str(file), text
        elif suffix == ".tar":
            yield from _of_tar(file)
        elif suffix in SUFFIXES:
            for row in read_rows(file, _FIELDS):
                for text in _inside(row.values):
                    yield row.place, text
        else:
            raise InputError(
                f"--captions {file}: expected .txt, .json, .tar, {', '.join(SUFFIXES)}"
            )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"--captions {file}: {error}") from None


def _of_tar(file: Path) -> Iterator[tuple[str, str]]:
    with open(file, "rb") as tar:
        for key, members in group_members(file).items():
            for extension, member in members.items():
                if extension not in TEXTS:
                    continue
                tar.seek(member.offset)
                text = tar.read(member.size).decode("utf-8")
                lines = text.splitlines() if extension == "txt" else _inside(json.loads(text))
                for line in lines:
                    yield f"{file}:{key}", line


def _inside(value: Any, named: bool = False) -> Iterator[str]:  # noqa: ANN401 (any JSON)
    """The texts below fields of captions."""
    if isinstance(value, str) and named:
        yield value
    elif isinstance(value, list):
        for entry in value:
            yield from _inside(entry, named)
    elif isinstance(value, dict):
        for field, entry in value.items():
            yield from _inside(entry, field in _FIELDS)
