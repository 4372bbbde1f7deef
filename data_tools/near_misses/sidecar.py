"""The sidecar `negatives`: a row for each sample with the false captions and how they were made."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from data_tools.annotate import HEAD, Made
from data_tools.near_misses.captions import Caption, Sample
from data_tools.near_misses.rules import NearMiss
from data_tools.near_misses.tokens import Edit

_TEXTS, _PLACES = pa.list_(pa.string()), pa.list_(pa.list_(pa.int32()))
_PARTS = pa.list_(pa.list_(pa.string()))
# one element a near miss in each list; within it one a changed place, in the order of the text
SCHEMA = pa.schema(
    [
        *HEAD,
        ("texts", _TEXTS),
        ("kinds", _TEXTS),
        ("captions", pa.list_(pa.int32())),  # which caption of the sample was made false
        ("originals", _TEXTS),  # that caption
        ("starts", _PLACES),  # characters of the original that were replaced, from
        ("ends", _PLACES),  # and up to
        ("replaced", _PARTS),
        ("by", _PARTS),
        ("mode", pa.string()),
    ]
)
LISTS = tuple(name for name in SCHEMA.names if name not in ("key", "src_sha256", "mode"))
Found = tuple[Sequence[NearMiss], str]  # near misses of a caption, and why there are none

CAPTIONS, WITH, WITHOUT, KIND = "captions", "with", "without ", "kind "
UNREADABLE = "samples without a readable caption"


def made(samples: Sequence[Sample], found: Mapping[tuple[str, int], Found], mode: str) -> Made:
    """The sidecar of a shard.

    Args:
        found: by key of the sample and place of the caption.
    """
    counts: Counter[str] = Counter()
    rows = []
    for sample in samples:
        if sample.error:
            counts[UNREADABLE] += 1
        own = [(caption, *found[caption.key, caption.place]) for caption in sample.captions]
        for _, near_misses, why in own:
            counts[CAPTIONS] += 1
            counts[WITH if near_misses else WITHOUT + why] += 1
            counts.update(KIND + near_miss.kind for near_miss in near_misses)
        head = {"key": sample.key, "src_sha256": sample.src_sha256, "mode": mode}
        columns: dict[str, list[Any]] = {name: [] for name in LISTS}
        for caption, near_misses, _ in own:
            for near_miss in near_misses:
                for name, value in _columns(caption, near_miss):
                    columns[name].append(value)
        rows.append(head | columns)
    return Made(rows, counts)


def _columns(caption: Caption, near_miss: NearMiss) -> Iterator[tuple[str, Any]]:
    edits: list[Edit] = sorted(near_miss.edits)
    yield "texts", near_miss.text
    yield "kinds", near_miss.kind
    yield "captions", caption.place
    yield "originals", caption.text
    yield "starts", [edit.start for edit in edits]
    yield "ends", [edit.end for edit in edits]
    yield "replaced", [caption.text[edit.start : edit.end] for edit in edits]
    yield "by", [edit.new for edit in edits]
