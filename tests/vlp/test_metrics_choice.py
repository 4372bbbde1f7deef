from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlp.metrics import chance
from vlp.metrics import choice as metric
from vlp.metrics.counting import count_by_choice, count_metrics, deviation

few = st.integers(0, 2)
# (item, right cell, wrong cell) of comparisons between five cells
comparisons = st.lists(
    st.tuples(few, st.integers(0, 4), st.integers(0, 4)).filter(lambda c: c[1] != c[2]),
    min_size=1,
    max_size=8,
)


@given(comparisons, st.lists(few, min_size=5, max_size=5))
def test_items_equal_a_loop(rows, scores):
    item, right, wrong = np.array(rows).T
    cells = np.float32(scores)
    compared = metric.compare_scores(cells[right], cells[wrong])
    assert compared.holds.tolist() == [scores[a] > scores[b] for _, a, b in rows]
    assert compared.tied.tolist() == [scores[a] == scores[b] for _, a, b in rows]
    which, solved = metric.solved_items(item, compared.holds)
    assert dict(zip(which.tolist(), solved.tolist(), strict=True)) == {
        i: all(scores[a] > scores[b] for j, a, b in rows if i == j) for i, _, _ in rows
    }


# cells c0i0, c1i0, c0i1, c1i1; text: each picture prefers its caption, image: each caption its
# picture
TEXT, IMAGE = [(0, 1), (3, 2)], [(0, 2), (3, 1)]


@pytest.mark.parametrize(
    ("scores", "text", "image"),
    [
        ([0.9, 0.1, 0.2, 0.8], True, True),
        ([0.5, 0.4, 0.6, 0.7], True, False),  # the second picture fits everything better
        ([0.5, 0.6, 0.4, 0.7], False, True),  # the second caption does
        ([0.1, 0.9, 0.8, 0.2], False, False),
        ([0.5, 0.5, 0.5, 0.5], False, False),
    ],
)
def test_winoground_by_hand(scores, text, image):
    cells = np.float32(scores)
    for pairs, expected in ((TEXT, text), (IMAGE, image), (TEXT + IMAGE, text and image)):
        right, wrong = np.array(pairs).T
        compared = metric.compare_scores(cells[right], cells[wrong])
        _, solved = metric.solved_items(np.zeros(len(pairs), np.int64), compared.holds)
        assert solved.tolist() == [expected]


@given(comparisons)
def test_chance_equals_all_orders(rows):
    orders = list(permutations(range(5)))
    shares = [
        np.mean([all(o[a] > o[b] for j, a, b in rows if i == j) for o in orders])
        for i in {i for i, _, _ in rows}
    ]
    assert chance.choice(*np.array(rows).T) == pytest.approx(np.mean(shares))


def test_chance_of_the_usual_items():
    def of(pairs, item=None):
        right, wrong = np.array(pairs).T
        return chance.choice(np.array(item or [0] * len(pairs)), right, wrong)

    assert of(TEXT + IMAGE) == pytest.approx(1 / 6)
    assert of(TEXT) == of(IMAGE) == pytest.approx(1 / 4)
    assert of([(7, n) for n in range(100, 300)]) == pytest.approx(1 / 201)
    assert of([(0, 1), (2, 3), (2, 4), (2, 5)], [0, 1, 1, 1]) == pytest.approx((1 / 2 + 1 / 4) / 2)
    with pytest.raises(ValueError, match="18 cells"):
        of([(n, n + 1) for n in range(17)])


def test_scores_that_cannot_be_compared():
    one = np.ones(1, np.float32)
    with pytest.raises(ValueError, match="NaN"):
        metric.compare_scores(one * np.nan, one)
    with pytest.raises(ValueError, match="NaN"):
        metric.compare_scores(one, one * np.inf)
    with pytest.raises(ValueError, match=r"\(1,\) right ones and \(2,\) wrong"):
        metric.compare_scores(one, np.ones(2, np.float32))


def test_equal_features_score_equally_in_any_place(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    image, text = torch.randn(2, 37, 65, generator=generator)
    text[30] = text[3]
    image[30] = image[3]
    whole = metric.pair_scores(image, text)
    assert torch.allclose(whole, (image.double() * text.double()).sum(1).float())
    assert whole[30] == whole[3]
    monkeypatch.setattr(metric, "_CELLS", 130)
    assert torch.equal(metric.pair_scores(image, text), whole)


@given(st.lists(st.tuples(st.lists(few, min_size=9, max_size=9), st.integers(2, 10)), min_size=1))
def test_counting_equals_a_loop(pictures):
    scores = torch.tensor([row for row, _ in pictures]).float()
    counts = [count for _, count in pictures]
    outcome = count_by_choice(scores, torch.tensor(counts))
    right, off = [], []
    confusion = np.zeros((9, 9), int)
    for row, count in pictures:
        best = [number for number in range(2, 11) if row[number - 2] == max(row)]
        predicted = max(best, key=lambda number: abs(number - count))
        right.append(predicted == count)
        off.append(abs(predicted - count))
        confusion[count - 2, predicted - 2] += 1
    found = count_metrics(outcome)
    assert found["count_acc"] == pytest.approx(np.mean(right))
    assert found["count_mad"] == pytest.approx(np.mean(off))
    assert deviation(outcome).tolist() == off
    # which of two tied and equally far numbers is predicted makes no difference to the metrics
    assert (outcome.confusion.sum(1) == confusion.sum(1)).all()
    assert np.diag(outcome.confusion).tolist() == np.diag(confusion).tolist()


def test_counting_of_a_constant_model_and_of_chance():
    counts = torch.arange(2, 11).repeat(400)
    same = count_by_choice(torch.ones(len(counts), 9), counts)
    assert same.tied.all()
    constant = count_metrics(same)
    assert constant["count_acc"] == constant["count_acc_2"] == constant["mean_per_count_acc"] == 0
    assert constant["count_mad"] == pytest.approx((8 + 7 + 6 + 5 + 4 + 5 + 6 + 7 + 8) / 9)
    scores = torch.rand(len(counts), 9, generator=torch.Generator().manual_seed(0))
    found = count_metrics(count_by_choice(scores, counts))
    expected = chance.counting((counts - 2).numpy(), 9)
    assert expected == {"count_acc": pytest.approx(1 / 9), "count_mad": pytest.approx(80 / 27)}
    assert found["count_acc"] == pytest.approx(expected["count_acc"], abs=0.02)
    assert found["count_mad"] == pytest.approx(expected["count_mad"], abs=0.1)


def test_counting_refuses_other_counts():
    with pytest.raises(ValueError, match="9 classes"):
        count_by_choice(torch.ones(1, 9), torch.tensor([11]))
