"""What a search gave, as programs read it, and what people should know besides."""

import datetime
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp.errors import InputError
from vlp.retrieval.pictures import MissingPictureError, read_picture
from vlp.retrieval.query import Found, Hit, Query

_EXPLANATION = (
    "percentile: of 100 generic queries of this kind, so many fit the picture less; "
    "99.9+: all of them"
)
_PATH, _CAPTION = "image_path", "caption"


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a search gave.

    Args:
        index: folder of the index.
        query: what was asked.
        found: what was found.
        rows: how many pictures the index holds.
        missing: ids of hits whose picture is no longer where it was.
    """

    index: Path
    query: Query
    found: Found
    rows: int
    missing: frozenset[int]

    @property
    def ranked(self) -> list[tuple[int, Hit]]:
        """(rank, hit); ranks go on from page to page and begin with 1."""
        return list(enumerate(self.found.hits, self.query.offset + 1))

    @property
    def explanation(self) -> str:
        """What a percentile is; empty if no hit has one."""
        return _EXPLANATION if any(h.percentile is not None for h in self.found.hits) else ""


def results(index: Path, query: Query, found: Found, rows: int) -> Results:
    """Look which pictures are still there."""
    missing = frozenset(hit.id for hit in found.hits if _is_missing(hit))
    return Results(index=index, query=query, found=found, rows=rows, missing=missing)


def path_of(hit: Hit) -> str | None:
    """Where its picture was when it was indexed."""
    path = hit.metadata.get(_PATH)
    return path if isinstance(path, str) else None


def caption_of(hit: Hit) -> str:
    """Its caption in one line; empty without one."""
    return " ".join(str(hit.metadata.get(_CAPTION) or "").split())


def percentile_text(percentile: float | None) -> str:
    """A percentile with one digit; 99.9+ where all generic queries score lower."""
    if percentile is None:
        return "-"
    return "99.9+" if percentile >= 100 else f"{min(percentile, 99.9):.1f}"


def notes(given: Results) -> list[str]:
    """What a user should know besides the hits, a line each."""
    found, query = given.found, given.query
    told = list(found.notes)
    if not given.rows:
        told.append(f"{given.index} is empty")
    elif not found.searched:
        told.append(f"none of {given.rows:,} pictures fulfils the condition {query.where}")
    elif not found.hits:
        bars = query.threshold is not None or query.least_percentile is not None
        passes = " that passes the thresholds" if bars else ""
        after = f" after the first {query.offset:,}" if query.offset else ""
        told.append(f"of {found.searched:,} pictures there is none{passes}{after}")
    if given.missing:
        told.append(
            f"{len(given.missing):,} of these pictures are missing since they were indexed; "
            f"`vlp index refresh {given.index}` removes what is gone"
        )
    return told


def paths(given: Results) -> str:
    """The hits' paths, one a line.

    Raises:
        InputError: a hit has none, or one that is no line.
    """
    found = []
    for _, hit in given.ranked:
        path = path_of(hit)
        if path is None:
            raise InputError(f"id {hit.id} has no {_PATH}: --format json or table shows it")
        if "\n" in path:
            raise InputError(f"the path of id {hit.id} has an end of line in it: {path!r}")
        found.append(f"{path}\n")
    return "".join(found)


def as_json(given: Results) -> str:
    """One object.

    `hits` have rank, id, percentile, cosine, score, missing, duplicates and metadata; `searched`
    is how many pictures fulfil the condition, `more` whether there is a next page. What JSON does
    not know is null (numbers that are none) or text.
    """
    content = {
        "index": str(given.index),
        "searched": given.found.searched,
        "more": given.found.more,
        "notes": given.found.notes,
        "hits": [
            {
                "rank": rank,
                "id": hit.id,
                "percentile": hit.percentile,
                "cosine": hit.cosine,
                "score": hit.score,
                "missing": hit.id in given.missing,
                "duplicates": list(hit.duplicates),
                "metadata": hit.metadata,
            }
            for rank, hit in given.ranked
        ],
    }
    return json.dumps(_plain(content), ensure_ascii=False, indent=2) + "\n"


def _plain(value: Any) -> Any:  # noqa: ANN401 (any value of a table)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value if value is None or isinstance(value, str | int) else str(value)


def _is_missing(hit: Hit) -> bool:
    path = path_of(hit)
    if path is None:
        return False
    try:
        read_picture(path, last=1)
    except MissingPictureError:
        return True
    return False
