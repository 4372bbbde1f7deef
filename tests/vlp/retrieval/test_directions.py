"""A query is the weighted sum of its parts less that of its negatives; generic ones are like it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vlp.retrieval.index_states import unit_vectors
from vlp.errors import InputError
from vlp.retrieval.directions import NEGATIVE, Direction, Part

NONE = np.empty((0, 8), np.float32)
TEXTS = unit_vectors(12, 1).astype(np.float32)
PICTURES = unit_vectors(7, 2).astype(np.float32)


def part(seed, kind="text", weight=1.0, row=None):
    return Part(unit_vectors(1, seed)[0].astype(np.float32), weight, kind, row)


def unit(vector):
    return vector / np.linalg.norm(vector)


def test_weighted_sum():
    one, two = part(3, weight=2), part(4, "picture", weight=0.5)
    expected = unit(2 * one.vector.astype(np.float64) + 0.5 * two.vector)
    np.testing.assert_allclose(Direction([one, two], NONE).unit, expected, atol=1e-6)


def test_half_of_the_mean_negative_is_subtracted():
    one, negatives = part(3), unit_vectors(3, 5).astype(np.float32)
    expected = unit(one.vector - 0.5 * negatives.astype(np.float64).mean(axis=0))
    np.testing.assert_allclose(Direction([one], negatives).unit, expected, atol=1e-6)
    assert NEGATIVE == 0.5


@given(scale=st.floats(0.01, 100))
def test_only_ratios_of_weights_matter(scale):
    negatives = unit_vectors(2, 5).astype(np.float32)

    def direction(factor):
        return Direction([part(3, weight=factor), part(4, weight=3 * factor)], negatives).unit

    np.testing.assert_allclose(direction(scale), direction(1.0), atol=1e-5)


def test_parts_that_cancel_out_are_refused():
    one = part(3)
    with pytest.raises(InputError, match="cancel out"):
        _ = Direction([one, Part(-one.vector, 1.0, "other")], NONE).unit


def test_generic_queries_of_one_part_are_the_generic_ones():
    generic = Direction([part(3, weight=5)], NONE).generic(TEXTS, PICTURES)
    np.testing.assert_allclose(generic.vectors, TEXTS, atol=1e-3)
    assert generic.pictures.shape == (12, 0)
    generic = Direction([part(3, "picture")], NONE).generic(TEXTS, PICTURES)
    np.testing.assert_allclose(generic.vectors, PICTURES, atol=1e-3)
    assert generic.pictures.tolist() == [[place] for place in range(7)]


def test_generic_queries_are_made_as_the_query_is():
    """Each is the same sum of generic texts and pictures, a different one in each part's place."""
    negatives = unit_vectors(1, 6).astype(np.float32)
    parts = [part(3, weight=2), part(4), part(5, "picture", weight=3)]
    generic = Direction(parts, negatives).generic(TEXTS, PICTURES)
    assert len(generic.vectors) == 12
    for number in range(12):
        first, second, picture = TEXTS[number], TEXTS[(number + 6) % 12], PICTURES[number % 7]
        expected = unit(2 * first + second + 3 * picture - 0.5 * 6 * negatives[0])
        np.testing.assert_allclose(generic.vectors[number], expected, atol=1e-5)
        assert generic.pictures[number].tolist() == [number % 7]


@pytest.mark.parametrize(
    ("kinds", "texts", "pictures"),
    [(["other"], TEXTS, PICTURES), (["text"], NONE, PICTURES), (["text", "picture"], TEXTS, NONE)],
)
def test_without_generic_ones_of_a_kind_there_are_none(kinds, texts, pictures):
    parts = [part(seed, kind) for seed, kind in enumerate(kinds)]
    assert Direction(parts, NONE).generic(texts, pictures) is None
