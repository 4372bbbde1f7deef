"""What can be said of a scene: its caption, paraphrases, and near misses that are false of it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from data_tools.world.scenes import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    RELATIONS,
    SHAPES,
    Scene,
    Thing,
)
from vlp.data.numbers import NUMBERS

INVERSE = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
}


@dataclass(frozen=True, kw_only=True)
class Description:
    """All texts of one scene. `count` is 0 and `noun` empty where no number is told."""

    caption: str
    rewrites: tuple[str, ...]  # true, in other words
    negatives: tuple[tuple[str, str], ...]  # (kind, false text that is nearly the caption)
    count: int = 0
    noun: str = ""
    counterfactual: str = ""  # the caption with another number word
    paraphrases: tuple[str, ...] = ()  # true, in wordings that only the test split has


def describe(scene: Scene, draw: random.Random) -> Description:
    """All texts of a scene; `draw` only chooses what the near misses put in."""
    caption = caption_of(scene)
    description = Description(
        caption=caption, rewrites=_REWRITES[scene.kind](scene), negatives=_negatives(scene, draw)
    )
    if not (scene.count and scene.numbered):
        return description
    other = draw.choice([value for value in NUMBERS if value != scene.count])
    return replace(
        description,
        count=scene.count,
        noun=plural(scene.things[0]),
        counterfactual=caption_of(replace(scene, count=other)),
    )


def caption_of(scene: Scene) -> str:
    """The caption: every object with its attributes, how they stand, and the background."""
    return f"{content_of(scene)} on {ground_of(scene)}"


def content_of(scene: Scene) -> str:
    """The objects with their attributes and how they stand: the caption without its background."""
    things = [phrase(thing) for thing in scene.things]
    if scene.kind == "single":
        return f"{things[0]} {scene.place}"
    if scene.kind == "pair":
        return f"{things[0]} {scene.relation} {things[1]}"
    if scene.kind == "between":
        return f"{things[0]} between {things[1]} and {things[2]}"
    counted = f"{number_of(scene)} {plural(scene.things[0])}"
    return " and ".join([counted, *things[1:]])


def number_of(scene: Scene) -> str:
    """The number word, or what is said in place of one."""
    return NUMBERS[scene.count] if scene.numbered else "some"


def phrase(thing: Thing) -> str:
    """One object with its article: 'a small red circle', 'an orange ring'."""
    words = " ".join(word for word in (thing.size, thing.colour, thing.shape) if word)
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def plural(thing: Thing) -> str:
    """Several objects without their number: 'red circles'."""
    return f"{thing.colour} {thing.shape}{'es' if thing.shape.endswith('s') else 's'}"


def ground_of(scene: Scene) -> str:
    """The background with its article."""
    return f"a {scene.texture} {scene.background} background"


def _the(thing: Thing) -> str:
    return "the " + phrase(thing).split(" ", 1)[1]


def _single_rewrites(scene: Scene) -> tuple[str, ...]:
    thing, ground, place = phrase(scene.things[0]), ground_of(scene), scene.place
    return (
        f"{place} of {ground} there is {thing}",
        f"a picture of {thing} {place}, the background is {scene.texture} {scene.background}",
        f"there is {thing} {place} on {ground}",
        f"{thing} alone on {ground}, {place}",
    )


def _pair_rewrites(scene: Scene) -> tuple[str, ...]:
    first, second = scene.things
    ground, inverse = ground_of(scene), INVERSE[scene.relation]
    return (
        f"{phrase(second)} {inverse} {phrase(first)} on {ground}",
        f"on {ground}, {phrase(first)} is {scene.relation} {phrase(second)}",
        f"a picture of {phrase(second)} and {phrase(first)}, "
        f"{_the(second)} is {inverse} {_the(first)}, on {ground}",
        f"there is {phrase(first)} {scene.relation} {phrase(second)} on {ground}",
    )


def _between_rewrites(scene: Scene) -> tuple[str, ...]:
    middle, left, right = (phrase(thing) for thing in scene.things)
    ground = ground_of(scene)
    return (
        f"{left}, {middle} and {right} in a row on {ground}",
        f"{middle} with {left} on its left and {right} on its right on {ground}",
        f"from left to right {left}, {middle} and {right} on {ground}",
        f"on {ground}, {middle} is between {left} and {right}",
    )


def _count_rewrites(scene: Scene) -> tuple[str, ...]:
    content, ground = content_of(scene), ground_of(scene)
    turned = " and ".join(reversed(content.split(" and ")))
    return (
        f"there are {content} on {ground}",
        f"on {ground}, {turned}",
        f"a picture of {content}, the background is {scene.texture} {scene.background}",
        f"{turned} scattered over {ground}",
    )


_REWRITES: dict[str, Callable[[Scene], tuple[str, ...]]] = {
    "single": _single_rewrites,
    "pair": _pair_rewrites,
    "between": _between_rewrites,
    "count": _count_rewrites,
}


def _negatives(scene: Scene, draw: random.Random) -> tuple[tuple[str, str], ...]:
    """One near miss of each kind that the scene allows; each is false whatever the picture."""
    changed: list[tuple[str, Scene]] = [
        ("colour", _new_colour(scene, draw)),
        ("shape", _new_shape(scene, draw)),
    ]
    swapped = _swap_colours(scene)
    if swapped is not None:
        changed.append(("swap", swapped))
    if scene.kind == "single":
        place = draw.choice([place for place in PLACES if place != scene.place])
        changed.append(("place", replace(scene, place=place)))
    elif scene.kind == "pair":
        changed.append(("relation", replace(scene, relation=INVERSE[scene.relation])))
        across = draw.choice([name for name in RELATIONS if name not in _axis(scene.relation)])
        changed.append(("direction", replace(scene, relation=across)))
    elif scene.kind == "between":
        middle, left, right = scene.things
        changed.append(("order", replace(scene, things=(left, middle, right))))
    elif scene.numbered:
        number = draw.choice([value for value in NUMBERS if value != scene.count])
        changed.append(("count", replace(scene, count=number)))
    background = draw.choice([name for name in BACKGROUNDS if name != scene.background])
    changed.append(("background", replace(scene, background=background)))
    return tuple((kind, caption_of(other)) for kind, other in changed)


def _axis(relation: str) -> tuple[str, str]:
    return relation, INVERSE[relation]


def _new_colour(scene: Scene, draw: random.Random) -> Scene:
    used = {thing.colour for thing in scene.things}
    colour = draw.choice([name for name in COLOURS if name not in used])
    return _with_first(scene, replace(scene.things[0], colour=colour))


def _new_shape(scene: Scene, draw: random.Random) -> Scene:
    used = {thing.shape for thing in scene.things}
    shape = draw.choice([name for name in SHAPES if name not in used])
    return _with_first(scene, replace(scene.things[0], shape=shape))


def _with_first(scene: Scene, thing: Thing) -> Scene:
    return replace(scene, things=(thing, *scene.things[1:]))


def _swap_colours(scene: Scene) -> Scene | None:
    """The first object's colour given to another and back, where that says something else."""
    first = scene.things[0]
    for place, other in enumerate(scene.things[1:], 1):
        if other.colour != first.colour and other.shape != first.shape:
            things = list(scene.things)
            things[0] = replace(first, colour=other.colour)
            things[place] = replace(other, colour=first.colour)
            return replace(scene, things=tuple(things))
    return None
