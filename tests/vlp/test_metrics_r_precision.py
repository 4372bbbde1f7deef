from itertools import permutations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp.metrics import chance, similarity
from vlp.metrics.r_precision import positive_ranks


def of_a_ranking(order, right):
    """R-Precision and AP@R of places in their order, by the definitions."""
    best = [place in right for place in order[: len(right)]]
    precision = [sum(best[: r + 1]) / (r + 1) for r in range(len(right))]
    average = sum(p for p, hit in zip(precision, best, strict=True) if hit)
    return sum(best) / len(right), average / len(right)


@st.composite
def cases(draw):
    queries, gallery = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    vector = st.lists(st.integers(-1, 1), min_size=2, max_size=2)
    one = draw(st.lists(vector, min_size=queries, max_size=queries))
    other = draw(st.lists(vector, min_size=gallery, max_size=gallery))
    places = st.lists(st.integers(0, gallery - 1), min_size=1, unique=True)
    positives = [np.array(draw(places)) for _ in range(queries)]
    return torch.tensor(one).float(), torch.tensor(other).float(), positives


@settings(max_examples=100, deadline=None)
@given(cases(), st.sampled_from([1 << 22, 3]))
def test_equals_the_definitions_with_ties_against_the_model(case, cells):
    queries, gallery, positives = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "_CELLS", cells)
        patch.setattr(similarity, "_ROWS", 2)
        found = positive_ranks(queries, gallery, positives)
    rank = iter(found.rank)
    for query, row in enumerate((queries @ gallery.T).tolist()):
        right = set(positives[query].tolist())
        order = sorted(range(len(row)), key=lambda j: (-row[j], j in right))
        assert [next(rank) for _ in right] == [1 + r for r, j in enumerate(order) if j in right]
        expected = of_a_ranking(order, right)
        assert found.r_precision()[query] == pytest.approx(expected[0])
        assert found.average_precision()[query] == pytest.approx(expected[1])
        for k in (1, 2, 5):
            assert found.hit(k)[query] == bool(right & set(order[:k]))


def test_a_perfect_and_a_constant_model():
    places = [np.array([0, 1, 2]), np.array([3]), np.array([4, 5])]
    gallery = torch.eye(3)[[0, 0, 0, 1, 2, 2]]
    perfect = positive_ranks(torch.eye(3), gallery, places).metrics("x")
    assert perfect["x_map@r"] == perfect["x_r_precision"] == perfect["x_recall@1"] == 1.0
    feature = F.normalize(torch.rand(1, 512, generator=torch.Generator().manual_seed(1)), dim=-1)
    constant = positive_ranks(feature.expand(3, -1), feature.expand(6, -1), places).metrics("x")
    assert constant["x_map@r"] == constant["x_r_precision"] == constant["x_recall@1"] == 0.0


def test_chance_is_the_mean_over_all_rankings():
    positives, gallery = np.array([1, 2, 4]), 6
    values = [
        np.mean(
            [of_a_ranking(order, set(range(right))) for order in permutations(range(gallery))], 0
        )
        for right in positives
    ]
    expected = chance.r_precision("x", positives, gallery)
    assert expected["x_r_precision"] == pytest.approx(np.mean([value[0] for value in values]))
    assert expected["x_map@r"] == pytest.approx(np.mean([value[1] for value in values]))
    assert chance.r_precision("x", np.array([1]), 1) == {"x_map@r": 1.0, "x_r_precision": 1.0}


def test_random_features_are_at_chance():
    generator = torch.Generator().manual_seed(0)
    queries, gallery = (torch.randn(n, 16, generator=generator) for n in (2000, 50))
    places = [np.arange(query % 10, query % 10 + 5) for query in range(2000)]
    found = positive_ranks(queries, gallery, places).metrics("x")
    expected = chance.r_precision("x", np.full(2000, 5), 50)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=0.01)


def test_refuses_what_cannot_be_ranked():
    one = torch.eye(2)
    for positives, message in (
        ([np.array([0])], "1 sets for 2 queries"),
        ([np.array([0]), np.array([], dtype=np.int64)], "query 1 has no right answer"),
        ([np.array([0, 0]), np.array([1])], "query 0 names an answer twice"),
        ([np.array([0]), np.array([2])], r"query 1 has answers outside \[0, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            positive_ranks(one, one, positives)
    with pytest.raises(ValueError, match="gallery: NaN"):
        positive_ranks(one, one * torch.nan, [np.array([0]), np.array([1])])
