"""The sidecars of the built-in world, written beside its shards."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.world.captions import Description
from data_tools.world.neighbours import Content, neighbours_of
from data_tools.world.scenes import Scene, box_of
from vlp.data.files import replace_atomically
from vlp.data.index import caption_sha256, sidecar_path
from vlp.data.leftovers import remove_leftovers_in

SAMPLES_PER_SHARD = 1000

_HEAD = [("key", pa.string()), ("src_sha256", pa.string())]
_TEXTS = ("texts", pa.list_(pa.string()))
SCHEMAS = {
    "rewrites": pa.schema([*_HEAD, _TEXTS]),
    "negatives": pa.schema([*_HEAD, _TEXTS, ("kinds", pa.list_(pa.string()))]),
    "counts": pa.schema(
        [*_HEAD, ("count", pa.int32()), ("noun", pa.string()), ("counterfactual", pa.string())]
    ),
    "neighbours": pa.schema(
        [*_HEAD, ("shards", pa.list_(pa.string())), ("keys", pa.list_(pa.string()))]
    ),
    "paraphrases": pa.schema([*_HEAD, _TEXTS]),
    # in pixels: left, top, right, bottom; as a detector gives them
    "boxes": pa.schema(
        [
            *_HEAD,
            ("labels", pa.list_(pa.string())),
            ("boxes", pa.list_(pa.list_(pa.float32()))),
            ("scores", pa.list_(pa.float32())),
        ]
    ),
}
# paraphrases are wordings for measuring alone: none may be trained on
SIDECARS = {
    "train": ("rewrites", "negatives", "counts", "boxes", "neighbours"),
    "test": ("rewrites", "negatives", "counts", "boxes", "paraphrases"),
}
_Row = dict[str, Any]
Boxes = dict[str, list[Any]]  # labels, boxes and scores of one scene


def write_sidecars(
    folder: Path,
    descriptions: Sequence[Description],
    contents: Sequence[Content],
    boxes: Sequence[Boxes],
) -> None:
    """All sidecars of the split `folder`, whose scenes have these texts, contents and boxes."""
    names = SIDECARS[folder.name]
    for name in names:
        remove_leftovers_in(sidecar_path(folder / "0.tar", name).parent)
    near = neighbours_of(contents) if "neighbours" in names else None
    for start in range(0, len(descriptions), SAMPLES_PER_SHARD):
        rows: dict[str, list[_Row]] = {name: [] for name in names}
        for place in range(start, min(start + SAMPLES_PER_SHARD, len(descriptions))):
            text = descriptions[place]
            digest = caption_sha256(text.caption.encode())
            found = dict(_texts(text)) | {"boxes": boxes[place]}
            if near is not None:
                found["neighbours"] = _neighbours(near[place])
            for name in names:
                if name in found:
                    head = {"key": _key(place), "src_sha256": digest}
                    rows[name].append(head | found[name])
        for name in names:
            table = pa.Table.from_pylist(rows[name], schema=SCHEMAS[name])
            path = sidecar_path(folder / f"{_shard(start)}.tar", name)
            replace_atomically(path, partial(pq.write_table, table))


def boxes_of(scene: Scene, size: int) -> Boxes:
    """Where the objects of a scene are, in a picture of size x size pixels; labels are shapes."""
    found = [[size * part for part in box_of(spot)] for spot in scene.spots]
    labels = [spot.thing.shape for spot in scene.spots]
    return {"labels": labels, "boxes": found, "scores": [1.0] * len(found)}


def _texts(text: Description) -> Iterator[tuple[str, _Row]]:
    kinds, negatives = zip(*text.negatives, strict=True)
    yield "rewrites", {"texts": list(text.rewrites)}
    yield "negatives", {"texts": list(negatives), "kinds": list(kinds)}
    yield "paraphrases", {"texts": list(text.paraphrases)}
    if text.count:
        counted = {"count": text.count, "noun": text.noun}
        yield "counts", counted | {"counterfactual": text.counterfactual}


def _neighbours(places: Sequence[int]) -> _Row:
    return {
        "shards": [_shard(place) for place in places],
        "keys": [_key(place) for place in places],
    }


def _shard(place: int) -> str:
    return f"{place // SAMPLES_PER_SHARD:05d}"


def _key(place: int) -> str:
    return f"{_shard(place)}{place % SAMPLES_PER_SHARD:04d}"
