"""Wordings that no caption and no rewrite has, to measure retrieval on sentences never trained on.

Each tells exactly what the caption tells: with its words for attributes, number, place and
background, and with its relation or the inverse one.
"""

from collections.abc import Callable

from data_tools.world.captions import (
    INVERSE,
    content_of,
    ground_of,
    number_of,
    phrase,
    plural,
)
from data_tools.world.scenes import Scene, Thing


def paraphrases_of(scene: Scene) -> tuple[str, ...]:
    """The same in other words, in the order of the frames below."""
    return _FRAMES[scene.kind](scene)


def _apart(thing: Thing) -> str:
    """One object with its attributes behind it: 'a circle that is small and red'."""
    words = " and ".join(word for word in (thing.size, thing.colour) if word)
    return f"a {thing.shape} that is {words}"


def _single(scene: Scene) -> tuple[str, ...]:
    thing, ground, place = scene.things[0], ground_of(scene), scene.place
    return (
        f"{ground} with {phrase(thing)} {place}",
        f"{place} sits {phrase(thing)}, with {ground} behind it",
        f"we see {phrase(thing)} against {ground}, placed {place}",
        f"{_apart(thing)}, {place} of {ground}",
    )


def _pair(scene: Scene) -> tuple[str, ...]:
    first, second = scene.things
    ground, relation, inverse = ground_of(scene), scene.relation, INVERSE[scene.relation]
    return (
        f"{ground} with {phrase(first)} {relation} {phrase(second)}",
        f"{inverse} {phrase(first)} sits {phrase(second)}, with {ground} behind both",
        f"we see {phrase(second)} and, {relation} it, {phrase(first)} against {ground}",
        f"{_apart(second)} {inverse} {_apart(first)}, against {ground}",
    )


def _between(scene: Scene) -> tuple[str, ...]:
    middle, left, right = scene.things
    ground = ground_of(scene)
    return (
        f"{ground} with {phrase(middle)} between {phrase(left)} and {phrase(right)}",
        f"between {phrase(left)} on the left and {phrase(right)} on the right sits "
        f"{phrase(middle)}, with {ground} behind them",
        f"from right to left we see {phrase(right)}, {phrase(middle)} and {phrase(left)} "
        f"against {ground}",
        f"{_apart(middle)}, between {_apart(left)} and {_apart(right)}, against {ground}",
    )


def _count(scene: Scene) -> tuple[str, ...]:
    things, extra = scene.things[0], scene.things[1:]
    ground, number = ground_of(scene), number_of(scene)
    noun = plural(things)
    together = "".join(f" together with {phrase(other)}" for other in extra)
    before = "".join(f"{phrase(other)} and " for other in extra)
    apart = "".join(f" and {_apart(other)}" for other in extra)
    bare = noun.removeprefix(f"{things.colour} ")
    return (
        f"{ground} with {content_of(scene)}",
        f"{noun}, {number} of them,{together} against {ground}",
        f"we see {before}{number} {noun}, with {ground} behind",
        f"{number} {bare} that are {things.colour}{apart}, against {ground}",
    )


_FRAMES: dict[str, Callable[[Scene], tuple[str, ...]]] = {
    "single": _single,
    "pair": _pair,
    "between": _between,
    "count": _count,
}
