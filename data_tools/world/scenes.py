"""Scenes of coloured shapes: what is in a picture, drawn at random but reproducibly.

A scene is a pure function of (seed, stream, number). Everything that a caption says of a scene is
decided here, so that it is true by construction.
"""

import itertools
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from vlp.data.numbers import NUMBERS

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "black", "white")
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond")
BACKGROUNDS = ("grey", "brown", "pink", "cyan")
TEXTURES = ("plain", "striped", "dotted", "checked")
RELATIONS = {
    "to the left of": (-1, 0),
    "to the right of": (1, 0),
    "above": (0, -1),
    "below": (0, 1),
}
PLACES = {
    "in the top left corner": (-1, -1),
    "in the top right corner": (1, -1),
    "in the bottom left corner": (-1, 1),
    "in the bottom right corner": (1, 1),
    "in the middle": (0, 0),
}
KINDS: dict[str, float] = {"single": 15, "pair": 40, "between": 15, "count": 30}  # by weight
RADII = {"small": (0.085, 0.105), "large": (0.165, 0.19), "": (0.075, 0.09)}  # parts of the side


@dataclass(frozen=True)
class Thing:
    """One kind of object: `size` is 'small', 'large' or '' where it is not told."""

    colour: str
    shape: str
    size: str = ""


@dataclass(frozen=True)
class Spot:
    """Where one object is: centre and radius as parts of the picture's side."""

    thing: Thing
    x: float
    y: float
    radius: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A picture's content. `kind` says which of the fields describe it.

    'single': things[0] at `place`. 'pair': things[0] `relation` things[1].
    'between': things[0] between things[1] (left) and things[2] (right).
    'count': `count` of things[0], and one of things[1] where there is one.
    """

    kind: str
    things: tuple[Thing, ...]
    spots: tuple[Spot, ...]
    background: str
    texture: str
    relation: str = ""
    place: str = ""
    count: int = 0
    numbered: bool = True  # whether captions tell `count`
    grain: int = 0  # phase of the texture and tint of the background


def make_scene(seed: int, stream: str, number: int, kinds: Mapping[str, float] = KINDS) -> Scene:
    """The scene `number` of a stream; equal arguments give equal scenes on every machine.

    Args:
        kinds: relative weights, in the order of `KINDS`.
    """
    make: dict[str, Callable[[random.Random], Scene]] = {
        "single": _single,
        "pair": _pair,
        "between": _between,
        "count": _count,
    }
    draw = random.Random(f"{seed}/{stream}/{number}")
    kind = draw.choices(list(kinds), weights=list(kinds.values()))[0]
    return make[kind](draw)


def make_labelled(seed: int, task: str, label: str, number: int) -> Scene:
    """A scene for classification: `label` is its colour, its shape or its number word."""
    draw = random.Random(f"{seed}/classification/{task}/{label}/{number}")
    if task == "count":
        count = next(value for value, word in NUMBERS.items() if word == label)
        return _counted(draw, count, extra=False)
    scene = _single(draw)
    thing = replace(scene.things[0], **{task: label})
    spot = replace(scene.spots[0], thing=thing)
    return replace(scene, things=(thing,), spots=(spot,))


def _thing(draw: random.Random, sized: bool = True) -> Thing:
    size = draw.choice(("small", "large")) if sized else ""
    return Thing(draw.choice(COLOURS), draw.choice(SHAPES), size)


def _things(draw: random.Random, number: int) -> tuple[Thing, ...]:
    """Things of which no two look alike but for their size."""
    things: list[Thing] = []
    while len(things) < number:
        thing = _thing(draw)
        if all((thing.colour, thing.shape) != (other.colour, other.shape) for other in things):
            things.append(thing)
    return tuple(things)


def _scene(
    draw: random.Random, kind: str, things: tuple[Thing, ...], spots: tuple[Spot, ...]
) -> Scene:
    return Scene(
        kind=kind,
        things=things,
        spots=spots,
        background=draw.choice(BACKGROUNDS),
        texture=draw.choice(TEXTURES),
        grain=draw.randrange(1000),
    )


def _radius(draw: random.Random, thing: Thing) -> float:
    return draw.uniform(*RADII[thing.size])


def _single(draw: random.Random) -> Scene:
    thing = _thing(draw)
    radius = _radius(draw, thing)
    place = draw.choice(tuple(PLACES))
    across, down = PLACES[place]
    far = 0.5 - radius - 0.03
    x, y = (0.5 + sign * far + draw.uniform(-0.02, 0.02) for sign in (across, down))
    scene = _scene(draw, "single", (thing,), (Spot(thing, x, y, radius),))
    return replace(scene, place=place)


def _pair(draw: random.Random) -> Scene:
    things = _things(draw, 2)
    relation = draw.choice(tuple(RELATIONS))
    across, down = RELATIONS[relation]
    first, second = (_radius(draw, thing) for thing in things)
    apart = draw.uniform(first + second + 0.06, 0.92 - first - second)
    aside = draw.uniform(-0.3, 0.3) * apart  # far from diagonal: one relation alone is true
    shift_x, shift_y = across * apart + down * aside, down * apart + across * aside
    x, y = (_middle(draw, shift, first, second) for shift in (shift_x, shift_y))
    spots = (
        Spot(things[0], x + shift_x / 2, y + shift_y / 2, first),
        Spot(things[1], x - shift_x / 2, y - shift_y / 2, second),
    )
    return replace(_scene(draw, "pair", things, spots), relation=relation)


def _middle(draw: random.Random, shift: float, first: float, second: float) -> float:
    """A point between two objects, on one axis, that keeps both away from the edges."""
    least = max(0.04 + first - shift / 2, 0.04 + second + shift / 2)
    most = min(0.96 - first - shift / 2, 0.96 - second + shift / 2)
    return draw.uniform(least, most)


def _between(draw: random.Random) -> Scene:
    things = tuple(replace(thing, size="small") for thing in _things(draw, 3))
    row = draw.uniform(0.35, 0.65)
    spots = tuple(
        Spot(thing, column + draw.uniform(-0.03, 0.03), row + draw.uniform(-0.06, 0.06), 0.115)
        for thing, column in zip(things, (0.5, 0.17, 0.83), strict=True)
    )
    plain = tuple(replace(thing, size="") for thing in things)
    return _scene(draw, "between", plain, spots)


def _count(draw: random.Random) -> Scene:
    return _counted(draw, draw.choice(tuple(NUMBERS)), extra=draw.random() < 0.5)


def _counted(draw: random.Random, count: int, extra: bool) -> Scene:
    """Many of one kind, scattered over the cells of a grid so that none touch."""
    thing = _thing(draw, sized=False)
    things = (thing, *((_other(draw, thing),) if extra else ()))
    cells = list(itertools.product(range(4), repeat=2))
    chosen = draw.sample(cells, count + len(things) - 1)
    spots = []
    for place, (column, line) in enumerate(chosen):
        this = things[-1] if extra and place == count else thing
        radius = _radius(draw, thing)
        slack = 0.125 - radius - 0.008
        x = (column + 0.5) / 4 + draw.uniform(-slack, slack)
        y = (line + 0.5) / 4 + draw.uniform(-slack, slack)
        spots.append(Spot(this, x, y, radius))
    return replace(_scene(draw, "count", things, tuple(spots)), count=count)


def _other(draw: random.Random, thing: Thing) -> Thing:
    while True:
        other = _thing(draw, sized=False)
        if other.shape != thing.shape and other.colour != thing.colour:
            return other


def outline(shape: str) -> list[tuple[float, float]]:
    """Corners of a shape around (0, 0) within a circle of radius 1; circles have none."""
    if shape == "square":
        return [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]
    if shape == "diamond":
        return [(0, -1.05), (0.72, 0), (0, 1.05), (-0.72, 0)]
    if shape == "triangle":
        return [(0, -0.95), (1.0, 0.8), (-1.0, 0.8)]
    if shape == "cross":
        a, b = 0.32, 0.95
        return [
            (-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a),
            (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a),
        ]  # fmt: skip
    if shape == "star":
        radii = itertools.cycle((1.1, 0.45))
        return [_polar(-math.pi / 2 + i * math.pi / 5, next(radii)) for i in range(10)]
    if shape == "heart":
        return [_heart(i * math.tau / 40) for i in range(40)]
    return []


def box_of(spot: Spot) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of an object, as parts of the picture's side."""
    corners = outline(spot.thing.shape) or [(-1.0, -1.0), (1.0, 1.0)]
    across, down = zip(*corners, strict=True)
    return (
        spot.x + spot.radius * min(across),
        spot.y + spot.radius * min(down),
        spot.x + spot.radius * max(across),
        spot.y + spot.radius * max(down),
    )


def _polar(angle: float, radius: float) -> tuple[float, float]:
    return radius * math.cos(angle), radius * math.sin(angle)


def _heart(t: float) -> tuple[float, float]:
    x = 16 * math.sin(t) ** 3
    y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
    return x / 17, -(y + 2) / 16
