"""`shapes`: the built-in world, written through the same builder and sidecars as any data."""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_tools.building.benchmark_layout import write_classification_set
from data_tools.building.collection import Collection, Picture
from data_tools.building.writing import Writing, write_collection
from data_tools.engine import Options
from data_tools.world.captions import Description, describe, plural
from data_tools.world.drawing import SceneReader, draw_scene
from data_tools.world.neighbours import Content, packed_content
from data_tools.world.paraphrases import paraphrases_of
from data_tools.world.scenes import (
    COLOURS,
    KINDS,
    SHAPES,
    Thing,
    make_labelled,
    make_scene,
)
from data_tools.world.sidecars import SAMPLES_PER_SHARD, Boxes, boxes_of, write_sidecars
from vlp.data.numbers import NUMBERS
from vlp.errors import InputError
from vlp.progress import bar

_LEAST_TEST_PAIRS = 200
_PER_CLASS = 50  # pictures of a classification set
_MOST_DRAWS = 20  # for a test scene, until its kinds count as exhausted


@dataclass(frozen=True, kw_only=True)
class Shapes(Options):
    """Make pictures of coloured shapes with exact captions, rewrites, counts and negatives.

    Args:
        output: folder for train, test and classification.
        pairs: pictures with captions in all; a tenth of them, but 200 where there are enough, is
            the test split.
        image_size: side of a picture in pixels.
        kinds: kinds of scenes to draw, of single, pair, between and count: a name, a list of them,
            or relative weights; {single: 15, pair: 40, between: 15, count: 30} without it.
        numbers: share of the train split's count scenes whose texts tell the number; the others
            say "some". The test split always tells it.
        restart: remove what an earlier run wrote in output, and make it anew.
    """

    output: Path
    pairs: int
    image_size: int = 64
    kinds: dict[str, float] | list[str] | str | None = None
    numbers: float = 1.0
    restart: bool = False


@dataclass
class _Split:
    pictures: list[Picture] = field(default_factory=list)
    descriptions: list[Description] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)
    boxes: list[Boxes] = field(default_factory=list)
    repeats: int = 0  # captions that an earlier picture of the split has too


def shapes(options: Shapes) -> None:
    """Run the command.

    Raises:
        InputError: an option has no usable value, or output holds something else.
        RunError: the run stopped; the same command continues it.
    """
    _check(options)
    kinds = _weights(options)
    test = min(max(options.pairs // 10, _LEAST_TEST_PAIRS), options.pairs // 2)
    splits = {
        "train": _make_split(options, kinds, "train", options.pairs - test),
        "test": _make_split(options, kinds, "test", test),
    }
    for name, split in splits.items():
        share = split.repeats / len(split.pictures)
        print(f"{name}: {len(split.pictures):,} scenes, {share:.1%} share a caption with another")
    collection = Collection(
        kind="shapes",
        splits={name: split.pictures for name, split in splits.items()},
        reader=SceneReader(image_size=options.image_size, kinds=kinds),
    )
    writing = Writing(
        output=str(options.output),
        settings=_settings(options, kinds),
        run=options,
        samples_per_shard=SAMPLES_PER_SHARD,
        restart=options.restart,
    )
    write_collection(collection, writing)
    for name, split in splits.items():
        write_sidecars(options.output / name, split.descriptions, split.contents, split.boxes)
    _write_classification(options)


def _check(options: Shapes) -> None:
    if options.pairs < 2:
        raise InputError(f"--pairs {options.pairs}: expected at least 2, one for each split")
    if not 32 <= options.image_size <= 1024:
        raise InputError(f"--image-size {options.image_size}: expected 32 to 1024 pixels")
    if not 0 <= options.numbers <= 1:
        raise InputError(f"--numbers {options.numbers}: expected a share, 0 to 1")


def _weights(options: Shapes) -> dict[str, float]:
    """The scene kinds to draw in the order of `KINDS`, by relative weight, none of which is 0."""
    kinds = KINDS if options.kinds is None else options.kinds
    names = [kinds] if isinstance(kinds, str) else kinds
    given = names if isinstance(names, dict) else dict.fromkeys(names, 1.0)
    unknown = [name for name in given if name not in KINDS]
    if unknown:
        choices = ", ".join(KINDS)
        raise InputError(f"--kinds {', '.join(unknown)}: no kind of scene; choices are {choices}")
    for name, weight in given.items():
        if not 0 <= weight < math.inf:
            raise InputError(f"--kinds {name}: {weight}: expected a weight of 0 or more")
    if not sum(given.values()):
        raise InputError("--kinds: expected a weight above 0 for at least one kind of scene")
    return {name: float(given[name]) for name in KINDS if given.get(name)}


def _settings(options: Shapes, kinds: Mapping[str, float]) -> dict[str, Any]:
    """What a resumed run must share. Options left alone are not told, as they change no byte."""
    settings: dict[str, Any] = {
        "pairs": options.pairs,
        "seed": options.seed,
        "image_size": options.image_size,
    }
    if kinds != KINDS:
        settings["kinds"] = kinds
    if options.numbers != Shapes.numbers:
        settings["numbers"] = options.numbers
    return settings


def _make_split(options: Shapes, kinds: Mapping[str, float], stream: str, number: int) -> _Split:
    """The scenes of a split with their texts.

    Of the test split no two captions are alike, so that retrieval has one answer.

    Raises:
        InputError: there are not enough different captions for a test split.
    """
    split, seen, is_test = _Split(), set[str](), stream == "test"
    with bar(f"describing {stream}", "scenes", number) as done:
        for place in itertools.count():
            if len(split.pictures) == number:
                break
            if is_test and place > _MOST_DRAWS * number:
                raise InputError(
                    f"--kinds {', '.join(kinds)}: too few different captions for {number:,} test "
                    "scenes; give more kinds or fewer --pairs"
                )
            scene = make_scene(options.seed, stream, place, kinds)
            if scene.kind == "count" and not is_test:
                scene = replace(scene, numbered=_is_numbered(options, place))
            description = describe(scene, random.Random(f"{options.seed}/{stream}/{place}/texts"))
            known = description.caption in seen
            if known and is_test:
                continue
            split.repeats += known
            seen.add(description.caption)
            if is_test:
                description = replace(description, paraphrases=paraphrases_of(scene))
            source = f"shapes://{options.seed}/{stream}/{place}"
            extra = {"kind": scene.kind, "count": scene.count}
            split.pictures.append(
                Picture(source=source, captions=(description.caption,), extra=extra)
            )
            split.descriptions.append(description)
            split.contents.append(packed_content(scene))
            split.boxes.append(boxes_of(scene, options.image_size))
            done.update()
    return split


def _is_numbered(options: Shapes, place: int) -> bool:
    """By a lot of its own: another share changes no picture, a larger one keeps the smaller's."""
    draw = random.Random(f"{options.seed}/train/{place}/number")
    return options.numbers == 1 or draw.random() < options.numbers


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
