"""Paraphrases: true, as exact as the caption, and in no wording that is trained on."""

import random
import re
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.world.captions import INVERSE, caption_of, describe
from data_tools.world.paraphrases import paraphrases_of
from data_tools.world.scenes import (
    BACKGROUNDS,
    COLOURS,
    NUMBERS,
    PLACES,
    RELATIONS,
    SHAPES,
    TEXTURES,
    Scene,
    Thing,
    make_scene,
)

CONTENT = {*COLOURS, *SHAPES, *NUMBERS.values(), *BACKGROUNDS, *TEXTURES, "small", "large", "some"}
CONTENT |= {"top", "bottom", "middle", "corner"}
ANY_SCENE = st.builds(make_scene, st.just(1), st.just("train"), st.integers(0, 10**9))


def bare(text: str) -> list[str]:
    """The words of a text, shapes in the singular and one article for both."""
    words = re.findall(r"\w+", text)
    singular = {f"{shape}s": shape for shape in SHAPES} | {"crosses": "cross", "an": "a"}
    return [singular.get(word, word) for word in words]


def test_paraphrases_say_what_is_so() -> None:
    first, second = Thing("red", "ring", "small"), Thing("orange", "star", "large")
    ground = {"spots": (), "background": "pink", "texture": "dotted"}
    pair = Scene(kind="pair", things=(first, second), relation="above", **ground)
    assert paraphrases_of(pair) == (
        "a dotted pink background with a small red ring above a large orange star",
        "below a small red ring sits a large orange star, "
        "with a dotted pink background behind both",
        "we see a large orange star and, above it, a small red ring "
        "against a dotted pink background",
        "a star that is large and orange below a ring that is small and red, "
        "against a dotted pink background",
    )
    row = tuple(Thing(colour, "cross") for colour in ("red", "green", "blue"))
    assert paraphrases_of(Scene(kind="between", things=row, **ground)) == (
        "a dotted pink background with a red cross between a green cross and a blue cross",
        "between a green cross on the left and a blue cross on the right sits a red cross, "
        "with a dotted pink background behind them",
        "from right to left we see a blue cross, a red cross and a green cross "
        "against a dotted pink background",
        "a cross that is red, between a cross that is green and a cross that is blue, "
        "against a dotted pink background",
    )
    some = (Thing("red", "cross"), Thing("orange", "star"))
    assert paraphrases_of(Scene(kind="count", things=some, count=4, **ground)) == (
        "a dotted pink background with four red crosses and an orange star",
        "red crosses, four of them, together with an orange star against a dotted pink background",
        "we see an orange star and four red crosses, with a dotted pink background behind",
        "four crosses that are red and a star that is orange, against a dotted pink background",
    )


@given(ANY_SCENE)
@settings(max_examples=150, deadline=None)
def test_paraphrases_have_the_caption_s_words_for_all_it_says(scene: Scene) -> None:
    caption = caption_of(scene)
    words = Counter(word for word in bare(caption) if word in CONTENT)
    texts = paraphrases_of(scene)
    assert len({caption, *describe(scene, random.Random(0)).rewrites, *texts}) == 5 + len(texts)
    for text in texts:
        assert Counter(word for word in bare(text) if word in CONTENT) == words
        if scene.kind == "single":
            assert scene.place in text
        if scene.kind == "pair":
            same, inverse = re.sub("of it", "of", text), INVERSE[scene.relation]
            assert [name in same for name in (scene.relation, inverse)].count(True) == 1


@given(ANY_SCENE, st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_paraphrases_tell_apart_what_captions_tell_apart(scene: Scene, draw) -> None:
    first, *others = scene.things
    near = [
        replace(scene, things=(replace(first, colour=draw.choice(COLOURS)), *others)),
        replace(scene, things=(replace(first, shape=draw.choice(SHAPES)), *others)),
        replace(scene, background=draw.choice(BACKGROUNDS)),
        replace(scene, texture=draw.choice(TEXTURES)),
        replace(scene, count=draw.choice(list(NUMBERS))) if scene.count else scene,
        replace(scene, place=draw.choice(list(PLACES))),
        replace(scene, relation=draw.choice(list(RELATIONS))) if scene.relation else scene,
    ]
    if first.size:
        near.append(replace(scene, things=(replace(first, size="small"), *others)))
    if scene.kind != "count":
        near.append(replace(scene, things=scene.things[::-1]))
    for other in near:
        same = caption_of(other) == caption_of(scene)
        for one, two in zip(paraphrases_of(scene), paraphrases_of(other), strict=True):
            assert (one == two) == same


def test_no_frame_of_a_paraphrase_is_ever_trained_on() -> None:
    trained, held_out = set[str](), set[str]()
    for scene in (make_scene(1, "train", place) for place in range(400)):
        for numbered in (True, False):
            text = describe(replace(scene, numbered=numbered), random.Random(0))
            trained |= {frame(said) for said in (text.caption, *text.rewrites)}
        held_out |= {frame(said) for said in paraphrases_of(scene)}
    assert not trained & held_out
    assert all(sum(kind in said for said in held_out) for kind in ("between", "sits", "them"))


def frame(text: str) -> str:
    return " ".join("*" if word in CONTENT else word for word in bare(text))
