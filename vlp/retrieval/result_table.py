"""Hits as lines in columns."""

import os
import unicodedata
from collections.abc import Sequence

from vlp.retrieval.query import Hit
from vlp.retrieval.results import Results, caption_of, path_of, percentile_text
from vlp.terminal import printable

_GAP = "  "
_LEAST = 20  # columns of a path and a caption together, on narrow terminals too


def table(given: Results, width: int | None) -> str:
    """Rank, percentile, cosine, id, picture and caption of each hit.

    Args:
        given: the hits.
        width: of the terminal in columns; None leaves paths and captions whole.
    """
    if not given.found.hits:
        return ""
    hits = given.found.hits
    below = _shared_folder([path for path in map(path_of, hits) if path is not None])
    header = ["rank", "percentile", "cosine", "id"]
    rows = [
        [str(rank), percentile_text(hit.percentile), f"{hit.cosine:.3f}", str(hit.id)]
        for rank, hit in given.ranked
    ]
    if given.query.hubness:
        header.insert(3, "score")
        for row, hit in zip(rows, hits, strict=True):
            row.insert(3, f"{hit.score:.3f}")
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    taken = sum(widths) + len(_GAP) * len(widths)
    left = None if width is None else max(_LEAST, width - taken)
    texts = _texts(given, below, left)
    lines = [
        _GAP.join([*(cell.rjust(w) for cell, w in zip(row, widths, strict=True)), text]).rstrip()
        for row, text in zip([header, *rows], texts, strict=True)
    ]
    if below:
        lines.insert(0, f"pictures in {printable(below)}")
    return "\n".join([*lines, *_footer(given)]) + "\n"


def _footer(given: Results) -> list[str]:
    lines = ["", given.explanation] if given.explanation else [""]
    after = given.query.offset + len(given.found.hits)
    more = f"; --offset {after} shows more" if given.found.more else ""
    return [*lines, f"{given.found.searched:,} pictures searched{more}"]


def _texts(given: Results, below: str, left: int | None) -> list[str]:
    """Of the header and of each hit the columns of its picture and its caption."""
    hits = given.found.hits
    names = [_name(hit, below, missing=hit.id in given.missing) for hit in hits]
    captions = [_one_line(caption_of(hit)) for hit in hits]
    if not any(names):
        return [_cut(text, left) for text in ["caption" if any(captions) else "", *captions]]
    if not any(captions):
        return [_cut_left(text, left) for text in ["picture", *names]]
    names, captions = ["picture", *names], ["caption", *captions]
    room = max(map(_columns, names))
    if left is not None:
        left -= len(_GAP)
        room = min(room, left - min(max(map(_columns, captions)), left // 2))
        left -= room
    names = [_cut_left(name, room) for name in names]
    return [
        name + " " * (room - _columns(name)) + _GAP + _cut(caption, left)
        for name, caption in zip(names, captions, strict=True)
    ]


def _name(hit: Hit, below: str, *, missing: bool) -> str:
    path = path_of(hit)
    if path is None:
        return ""
    also = f" +{len(hit.duplicates)} alike" if hit.duplicates else ""
    return _one_line(path.removeprefix(below)) + " (missing)" * missing + also


def _shared_folder(paths: Sequence[str]) -> str:
    """The folder of all, with a slash at its end; empty if it saves nothing."""
    folders = {os.path.dirname(path) for path in paths}
    if len(paths) < 2 or not all(map(os.path.isabs, folders)):
        return ""
    shared = os.path.commonpath(folders)
    return "" if shared == "/" else f"{shared}/"


def _one_line(text: str) -> str:
    return printable(text.replace("\n", "\\n"))


def _columns(text: str) -> int:
    """How wide a terminal shows it."""
    return sum(_width(sign) for sign in text)


def _width(sign: str) -> int:
    if unicodedata.combining(sign):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def _cut(text: str, columns: int | None) -> str:
    """The text's beginning."""
    if columns is None or _columns(text) <= columns:
        return text
    kept, used = "", 1
    for sign in text:
        used += _width(sign)
        if used > columns:
            break
        kept += sign
    return kept.rstrip() + "…"


def _cut_left(text: str, columns: int | None) -> str:
    """The text's end."""
    if columns is None or _columns(text) <= columns:
        return text
    return "…" + _cut(text[::-1], columns)[-2::-1]
