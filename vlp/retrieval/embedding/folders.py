"""A folder of pictures: all below it, with what stands beside each under the same name."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlp.errors import InputError
from vlp.progress import watched
from vlp.retrieval.embedding.columns import Columns, text
from vlp.retrieval.embedding.items import Item, Say, file_facts, row_mark

SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
    *(".jp2", ".ppm", ".pgm", ".qoi", ".tga"),
)
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
_BESIDE = (".txt", ".json")  # the caption and the metadata of a picture


@dataclass
class Found:
    """Files below a folder."""

    pictures: list[str] = field(default_factory=list)
    beside: set[str] = field(default_factory=set)
    parquets: list[Path] = field(default_factory=list)
    shards: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def find_pictures(folder: Path) -> Found:
    """List a folder and all below it."""
    found = Found()
    for path in watched(_files(str(folder.absolute()), found.problems), "listing", "files"):
        suffix = os.path.splitext(path)[1].lower()
        if suffix in SUFFIXES:
            found.pictures.append(path)
        elif suffix in _BESIDE:
            found.beside.add(path)
        else:
            found.others[suffix or "without a suffix"] += 1
            if suffix in (".parquet", ".tar"):
                (found.shards if suffix == ".tar" else found.parquets).append(Path(path))
    return found


def read_folder(folder: Path, found: Found, say: Say) -> list[Item]:
    """The pictures that were found below a folder, by path.

    NAME.txt beside NAME.jpg holds its caption, NAME.json its metadata, as clip-retrieval has it.

    Raises:
        InputError: there are none.
    """
    if not found.pictures:
        if found.beside:
            found.others["captions (.txt, .json)"] = len(found.beside)
        if found.shards:
            raise InputError(
                f"{folder}: {len(found.shards):,} tars lie in folders further below: name the "
                f"folder of one data set, e.g. {found.shards[0].parent}"
            )
        unlisted = "; ".join(found.problems)
        inside = _told(found.others) or unlisted or "no file"
        raise InputError(
            f"{folder}: no pictures in it ({', '.join(SUFFIXES[:5])}, ...); it holds {inside}"
            + (f"; {hint}" if (hint := _table_hint(folder)) else "")
        )
    columns = Columns()
    items = [_item(path, found, columns) for path in sorted(found.pictures)]
    captioned = sum(bool(item.captions) for item in items)
    others = _told(found.others)
    say(
        f"data: folder {folder}, {len(items):,} picture{'s' * (len(items) > 1)}, "
        f"{captioned:,} with a caption" + (f" (left alone: {others})" if others else "")
    )
    if not captioned and (hint := _table_hint(folder)):
        say(hint)
    for problem in found.problems:
        say(problem)
    columns.report(say)
    return items


def read_single(path: Path, say: Say) -> list[Item]:
    """One picture, with what stands beside it."""
    beside = {f"{path.absolute().with_suffix(kind)}" for kind in _BESIDE}
    found = Found(beside={name for name in beside if os.path.isfile(name)})
    item = _item(str(path.absolute()), found, Columns())
    say(f"data: {path}, one picture{' with a caption' * bool(item.captions)}")
    for problem in found.problems:
        say(problem)
    return [item]


def _files(top: str, problems: list[str]) -> Iterator[str]:
    """Visible files and broken links; links to folders are followed, each folder is read once."""
    seen: set[tuple[int, int]] = set()
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            facts = os.stat(folder)
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            problems.append(f"not listed: {folder}: {error.strerror}")
            continue
        below = []
        for entry in listed:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir():
                below.append(entry.path)
            else:
                yield entry.path
        waiting += reversed(below)


def _item(path: str, found: Found, columns: Columns) -> Item:
    size, mark = file_facts(path)
    stem = os.path.splitext(path)[0]
    beside = [_beside(f"{stem}{kind}", found) for kind in _BESIDE]
    caption, record = text(beside[0]).strip(), _record(beside[1], f"{stem}.json", found)
    captions = (caption,) if caption else ()
    told = record.pop("caption", None)
    if not caption and isinstance(told, str) and told.strip():
        captions = (text(told).strip(),)
    if any(beside):
        mark = row_mark(mark, beside)
    return Item(path, captions, columns.row(record), mark, size)


def _beside(path: str, found: Found) -> str:
    if path not in found.beside:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        found.problems.append(f"not read: {path}: {error}")
        return ""


def _record(content: str, path: str, found: Found) -> dict[str, Any]:
    try:
        record = json.loads(content) if content else {}
    except (ValueError, RecursionError) as error:
        found.problems.append(f"not read: {path}: {error}")
        return {}
    return record if isinstance(record, dict) else {}


def _told(others: Counter[str]) -> str:
    return ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(others.items()))


def _table_hint(folder: Path) -> str:
    tables = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in TABLES)
    if not tables:
        return ""
    return f"{folder / tables[0]} is a table: name it instead for what it says of the pictures"
