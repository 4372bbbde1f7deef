"""`shapes`: the built-in world, written through the same builder and sidecars as any data."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from data_tools.benchmark_layout import write_classification_set
from data_tools.build import Writing, write_collection
from data_tools.collection import Collection, Picture
from data_tools.errors import InputError
from data_tools.progress import bar
from data_tools.shapes_captions import Description, describe, plural
from data_tools.shapes_drawing import SceneReader, draw_scene
from data_tools.shapes_world import COLOURS, NUMBERS, SHAPES, Thing, make_labelled, make_scene
from vlp.data.files import replace_atomically
from vlp.data.index import caption_sha256, sidecar_path

SAMPLES_PER_SHARD = 1000
_LEAST_TEST_PAIRS = 200
_PER_CLASS = 50  # pictures of a classification set

_HEAD = [("key", pa.string()), ("src_sha256", pa.string())]
_TEXTS = ("texts", pa.list_(pa.string()))
SIDECARS = {
    "rewrites": pa.schema([*_HEAD, _TEXTS]),
    "negatives": pa.schema([*_HEAD, _TEXTS, ("kinds", pa.list_(pa.string()))]),
    "counts": pa.schema(
        [*_HEAD, ("count", pa.int32()), ("noun", pa.string()), ("counterfactual", pa.string())]
    ),
}


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Make pictures of coloured shapes with exact captions, rewrites, counts and negatives.

    Args:
        output: folder for train, test and classification.
        pairs: pictures with captions in all; a tenth of them, but 200 where there are enough, is
            the test split.
        seed: equal seeds give equal bytes.
        image_size: side of a picture in pixels.
        workers: processes; 0 is one for each core.
        restart: remove what an earlier run wrote in output, and make it anew.
    """

    output: Path
    pairs: int
    seed: int = 0
    image_size: int = 64
    workers: int = 0
    restart: bool = False


@dataclass(frozen=True)
class _Split:
    pictures: list[Picture]
    descriptions: list[Description]
    repeats: int  # captions that an earlier picture of the split has too


def shapes(options: Shapes) -> None:
    """Run the command.

    Raises:
        InputError: an option has no usable value, or output holds something else.
        RunError: the run stopped; the same command continues it.
    """
    _check(options)
    test = min(max(options.pairs // 10, _LEAST_TEST_PAIRS), options.pairs // 2)
    splits = {
        "train": _make_split(options.seed, "train", options.pairs - test, unique=False),
        "test": _make_split(options.seed, "test", test, unique=True),
    }
    for name, split in splits.items():
        share = split.repeats / len(split.pictures)
        print(f"{name}: {len(split.pictures):,} scenes, {share:.1%} share a caption with another")
    collection = Collection(
        kind="shapes",
        splits={name: split.pictures for name, split in splits.items()},
        reader=SceneReader(image_size=options.image_size),
    )
    settings = {"pairs": options.pairs, "seed": options.seed, "image_size": options.image_size}
    writing = Writing(
        output=options.output,
        settings=settings,
        samples_per_shard=SAMPLES_PER_SHARD,
        workers=options.workers,
        restart=options.restart,
    )
    write_collection(collection, writing)
    for name, split in splits.items():
        _write_sidecars(options.output / name, split.descriptions)
    _write_classification(options)


def _check(options: Shapes) -> None:
    if options.pairs < 2:
        raise InputError(f"--pairs {options.pairs}: expected at least 2, one for each split")
    if options.seed < 0:
        raise InputError(f"--seed {options.seed}: expected 0 or more")
    if not 32 <= options.image_size <= 1024:
        raise InputError(f"--image-size {options.image_size}: expected 32 to 1024 pixels")


def _make_split(seed: int, stream: str, number: int, unique: bool) -> _Split:
    """The scenes of a split with their texts.

    Args:
        unique: pass over scenes whose caption was there before, so that retrieval has one answer.
    """
    split, seen, repeats = _Split([], [], 0), set[str](), 0
    with bar(f"describing {stream}", "scenes", number) as done:
        for place in itertools.count():
            if len(split.pictures) == number:
                break
            scene = make_scene(seed, stream, place)
            description = describe(scene, random.Random(f"{seed}/{stream}/{place}/texts"))
            known = description.caption in seen
            if known and unique:
                continue
            repeats += known
            seen.add(description.caption)
            source = f"shapes://{seed}/{stream}/{place}"
            extra = {"kind": scene.kind, "count": scene.count}
            split.pictures.append(
                Picture(source=source, captions=(description.caption,), extra=extra)
            )
            split.descriptions.append(description)
            done.update()
    return _Split(split.pictures, split.descriptions, repeats)


def _write_sidecars(folder: Path, descriptions: Sequence[Description]) -> None:
    for start in range(0, len(descriptions), SAMPLES_PER_SHARD):
        number = start // SAMPLES_PER_SHARD
        rows = _rows(number, descriptions[start : start + SAMPLES_PER_SHARD])
        for name, schema in SIDECARS.items():
            table = pa.Table.from_pylist(rows[name], schema=schema)
            path = sidecar_path(folder / f"{number:05d}.tar", name)
            replace_atomically(path, partial(pq.write_table, table))


def _rows(number: int, descriptions: Sequence[Description]) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDECARS}
    for place, text in enumerate(descriptions):
        head = {
            "key": f"{number:05d}{place:04d}",
            "src_sha256": caption_sha256(text.caption.encode()),
        }
        kinds, negatives = zip(*text.negatives, strict=True)
        rows["rewrites"].append(head | {"texts": list(text.rewrites)})
        rows["negatives"].append(head | {"texts": list(negatives), "kinds": list(kinds)})
        if text.count:
            counted = {"count": text.count, "noun": text.noun}
            rows["counts"].append(head | counted | {"counterfactual": text.counterfactual})
    return rows


def _write_classification(options: Shapes) -> None:
    """Three sets of pictures that are in neither split, as they are drawn from other streams."""
    labels = {"colour": COLOURS, "shape": SHAPES, "count": tuple(NUMBERS.values())}
    each = min(_PER_CLASS, max(2, options.pairs // 100))
    total = each * sum(len(names) for names in labels.values())
    with bar("classification", "pictures", total) as done:
        for task, names in labels.items():
            root = options.output / "classification" / task
            samples = _labelled(options, task, names, each, done)
            count = write_classification_set(root, names, _templates(task), samples)
            print(f"{root}: {count:,} pictures of {len(names)} classes")


def _labelled(
    options: Shapes, task: str, names: Sequence[str], each: int, done: "tqdm[Any]"
) -> Iterator[tuple[bytes, int]]:
    for number in range(each):
        for label, name in enumerate(names):
            scene = make_labelled(options.seed, task, name, number)
            yield draw_scene(scene, options.image_size), label
            done.update()


def _templates(task: str) -> list[str]:
    """Prompts in the words of the captions, over all values of what is not asked for."""
    if task == "colour":
        return [f"a {size} {{c}} {shape}" for size in ("small", "large") for shape in SHAPES]
    if task == "shape":
        return [f"a {size} {colour} {{c}}" for size in ("small", "large") for colour in COLOURS]
    pairs = zip(COLOURS, SHAPES, strict=True)
    return [f"{{c}} {plural(Thing(colour, shape))}" for colour, shape in pairs]
