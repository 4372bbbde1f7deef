"""Neighbours: exactly the nearest, and never a picture that the caption is true of."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.world.captions import INVERSE, caption_of, describe
from data_tools.world.neighbours import nearest_contents, neighbours_of, packed_content
from data_tools.world.scenes import Scene, make_scene


def scenes(number: int) -> list[Scene]:
    return [make_scene(1, "train", place) for place in range(number)]


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 5), unique=True, min_size=1, max_size=40))
@settings(max_examples=80, deadline=None)
def test_the_nearest_contents_are_those_of_comparing_all_with_all(rows: list[tuple[int]]) -> None:
    table = np.array(rows)
    found = nearest_contents(table @ 16 ** np.arange(5), 5)
    differing = (table[:, None] != table[None]).sum(axis=-1)
    for place, others in enumerate(found):
        best = sorted(np.delete(differing[place], place))[:3]
        assert (others[len(best) :] == -1).all()
        chosen = others[: len(best)]
        assert len({place, *chosen}) == 1 + len(best)
        assert differing[place, chosen].tolist() == best


def test_neighbours_are_alike_but_of_another_caption() -> None:
    many = scenes(3000)
    found = neighbours_of([packed_content(scene) for scene in many])
    differing = []
    for scene, places in zip(many, found, strict=True):
        assert len(set(places)) == 3
        for other in (many[place] for place in places):
            assert other.kind == scene.kind
            assert caption_of(other) not in (caption_of(scene), *describe(scene, random).rewrites)
            if scene.kind == "single":
                words = set(caption_of(scene).split()) - set(caption_of(other).split())
                differing.append(len(words))
    assert np.mean(differing) < 2
    used = Counter(place for places in found for place in places)
    assert max(used.values()) < 25


def test_scenes_said_alike_are_no_neighbours() -> None:
    told = [replace(scene, numbered=False) for scene in scenes(800) if scene.kind == "count"]
    many = [*told, *(replace(scene, count=2 + scene.count % 9) for scene in told)]
    for scene, places in zip(many, neighbours_of([packed_content(s) for s in many]), strict=True):
        assert places
        assert caption_of(scene) not in {caption_of(many[place]) for place in places}
    pair = next(scene for scene in scenes(50) if scene.kind == "pair")
    mirrored = replace(pair, things=pair.things[::-1], relation=INVERSE[pair.relation])
    assert packed_content(pair) == packed_content(mirrored)
    assert neighbours_of([packed_content(pair), packed_content(mirrored)]) == [[], []]
    row = next(scene for scene in scenes(50) if scene.kind == "between")
    mirrored = replace(row, things=(row.things[0], *row.things[:0:-1]))
    assert packed_content(row) == packed_content(mirrored)


def test_a_caption_that_names_fewer_objects_is_no_neighbour_of_one_that_names_more() -> None:
    many = [scene for scene in scenes(800) if scene.kind == "count"]
    for scene, places in zip(many, neighbours_of([packed_content(s) for s in many]), strict=True):
        assert {len(many[place].things) for place in places} == {len(scene.things)}
