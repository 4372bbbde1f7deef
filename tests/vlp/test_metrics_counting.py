"""Accuracy of every number, against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp.metrics.counting import count_by_choice, count_metrics, count_outcomes
from vlp.metrics.outcomes import interval

SCORES = st.lists(st.integers(-2, 2), min_size=9, max_size=9)  # few values: ties are frequent
PICTURES = st.lists(st.tuples(st.integers(2, 10), SCORES), min_size=1, max_size=12)


def solved(scores, count):
    own = scores[count - 2]
    return sum(score >= own for score in scores) == 1


@settings(max_examples=60, deadline=None)
@given(PICTURES)
def test_equals_loops(pictures):
    counts = [count for count, _ in pictures]
    scores = torch.tensor([scores for _, scores in pictures]).float()
    found = count_metrics(count_by_choice(scores, torch.tensor(counts)))
    hits = {}
    for count, own in pictures:
        hits.setdefault(count, []).append(solved(own, count))
    shares = {count: sum(own) / len(own) for count, own in hits.items()}
    assert set(found) == {
        *("count_acc", "count_mad", "mean_per_count_acc"),
        *(f"count_acc_{count}" for count in shares),
    }
    for count, share in shares.items():
        assert found[f"count_acc_{count}"] == pytest.approx(share)
    assert found["mean_per_count_acc"] == pytest.approx(np.mean(list(shares.values())))
    assert found["count_acc"] == pytest.approx(sum(sum(own) for own in hits.values()) / len(counts))


def test_a_constant_model_solves_no_number():
    found = count_metrics(count_by_choice(torch.ones(18, 9), torch.arange(2, 11).repeat(2)))
    assert {value for name, value in found.items() if name != "count_mad"} == {0.0}


def test_the_interval_of_a_number_is_that_of_its_pictures():
    scores = torch.randn(41, 9, generator=torch.Generator().manual_seed(0))
    counts = torch.tensor([3] * 40 + [7])
    found = count_outcomes(count_by_choice(scores, counts))
    assert all(len(found[name].sums) == 41 for name in ("count_acc", "count_acc_3", "count_acc_7"))
    alone = count_by_choice(scores[:40], counts[:40])
    assert interval(found["count_acc_3"]) == interval(count_outcomes(alone)["count_acc"])
    assert interval(found["count_acc_7"]) is None
