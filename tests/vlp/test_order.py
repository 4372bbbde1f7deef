"""The order of the data: a pure function of (seed, position), whatever the layout."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp.data.order import BatchOrder, SourceOrder, permutation

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(lambda x: sum(x) > 0)


@given(lengths=LENGTHS, seed=st.integers(0, 1000), window=st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_an_epoch_holds_every_sample_once(lengths, seed, window):
    order = SourceOrder(lengths, seed, window)
    for epoch in range(3):
        places = [order.locate(epoch * len(order) + i) for i in range(len(order))]
        assert {e for e, _, _ in places} == {epoch}
        assert sorted((s, r) for _, s, r in places) == [
            (s, r) for s, n in enumerate(lengths) for r in range(n)
        ]


@given(lengths=LENGTHS, seed=st.integers(0, 1000), at=st.lists(st.integers(0, 500), min_size=1))
@settings(max_examples=40, deadline=None)
def test_a_position_does_not_depend_on_what_was_asked_before(lengths, seed, at):
    asked = SourceOrder(lengths, seed, 7)
    assert [asked.locate(p) for p in at] == [SourceOrder(lengths, seed, 7).locate(p) for p in at]


def test_epochs_and_seeds_differ():
    order = SourceOrder([50, 50], 0, 100)
    first = [order.locate(i)[1:] for i in range(100)]
    second = [order.locate(100 + i)[1:] for i in range(100)]
    other = SourceOrder([50, 50], 1, 100)
    assert first != second
    assert first != [other.locate(i)[1:] for i in range(100)]


def test_the_order_never_changes():
    # frozen: a release that changes these numbers cannot resume the runs of the one before
    assert permutation(8, 0, 1, 2, 3).tolist() == [3, 0, 7, 5, 2, 1, 6, 4]


@given(
    weights=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    batch=st.integers(1, 40),
    k=st.integers(0, 10**9),
)
@settings(max_examples=100, deadline=None)
def test_sources_share_batches_by_weight(weights, batch, k):
    names = [str(i) for i in range(len(weights))]
    order = BatchOrder(
        {name: [5] for name in names},
        dict(zip(names, map(float, weights), strict=True)),
        batch,
        0,
        4,
    )
    given = order._given(k)
    assert sum(given) == k * batch
    for i, (count, weight) in enumerate(zip(given, weights, strict=True)):
        assert abs(count - k * batch * weight / sum(weights)) <= i + 1
    counts = np.subtract(order._given(k + 1), given)
    assert (counts >= 0).all()
    assert counts.sum() == batch


def test_whole_shares_are_exact_in_every_batch():
    order = BatchOrder({"a": [9], "b": [5]}, {"a": 3.0, "b": 1.0}, 8, 0, 4)
    for k in range(20):
        assert Counter(p.source for p in order.places(k, 0, 8)) == {0: 6, 1: 2}


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_take_contiguous_slices_of_one_batch(ranks):
    order = BatchOrder({"a": [5]}, {"a": 1.0}, 12, 3, 8)
    rows = 12 // ranks
    whole = order.places(4, 0, 12)
    parts = [p for r in range(ranks) for p in order.places(4, r * rows, (r + 1) * rows)]
    assert parts == whole


def test_substitutes_are_samples_of_the_same_source():
    order = BatchOrder({"a": [3, 4], "b": [5]}, {"a": 1.0, "b": 1.0}, 4, 0, 8)
    place = order.places(0, 0, 4)[0]
    tried = [order.substitute(place, attempt) for attempt in range(1, 30)]
    assert {t.source for t in tried} == {place.source}
    assert len({t.sample for t in tried}) > 1
    assert tried == [order.substitute(place, attempt) for attempt in range(1, 30)]
