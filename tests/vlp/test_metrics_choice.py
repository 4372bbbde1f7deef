import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlp.metrics import chance
from vlp.metrics import choice as metric
from vlp.metrics.counting import count_by_choice, count_metrics, deviation

few = st.integers(0, 2)


@given(st.lists(st.tuples(few, st.lists(few, min_size=1, max_size=4)), min_size=1, max_size=6))
def test_choice_equals_a_loop(pictures):
    true = np.float32([score for score, _ in pictures])
    wrong = np.float32([score for _, misses in pictures for score in misses])
    owner = np.repeat(np.arange(len(pictures)), [len(misses) for _, misses in pictures])
    found = metric.choose(true, wrong, owner)
    beaten = [score > miss for score, misses in pictures for miss in misses]
    every = [all(score > miss for miss in misses) for score, misses in pictures]
    assert found.metrics == {
        "choice_acc": pytest.approx(np.mean(beaten)),
        "choice_all_acc": pytest.approx(np.mean(every)),
    }
    ties = sum(score == miss for score, misses in pictures for miss in misses)
    assert found.tied.sum() == ties


def test_choice_of_a_constant_model_and_of_chance():
    owner = np.repeat(np.arange(1000), 3)
    same = metric.choose(np.ones(1000, np.float32), np.ones(3000, np.float32), owner)
    assert same.metrics == {"choice_acc": 0.0, "choice_all_acc": 0.0}
    assert same.tied.all()
    random = np.random.default_rng(0)
    found = metric.choose(
        random.random(1000).astype(np.float32), random.random(3000).astype(np.float32), owner
    ).metrics
    expected = chance.choice(np.full(1000, 3))
    assert expected == {"choice_acc": 0.5, "choice_all_acc": 0.25}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=0.03)


def test_choice_refuses_what_cannot_be_compared():
    one = np.ones(1, np.float32)
    with pytest.raises(ValueError, match="NaN"):
        metric.choose(one * np.nan, one, np.array([0]))
    for owner in ([1], [0, 0]):
        with pytest.raises(ValueError, match="a near miss for each picture"):
            metric.choose(one, one, np.array(owner))
    with pytest.raises(ValueError, match="a near miss for each picture"):
        metric.choose(np.ones(2, np.float32), one, np.array([0]))


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
    assert count_metrics(same) == {
        "count_acc": 0.0,
        "count_mad": pytest.approx((8 + 7 + 6 + 5 + 4 + 5 + 6 + 7 + 8) / 9),
    }
    scores = torch.rand(len(counts), 9, generator=torch.Generator().manual_seed(0))
    found = count_metrics(count_by_choice(scores, counts))
    expected = chance.counting((counts - 2).numpy(), 9)
    assert expected == {"count_acc": pytest.approx(1 / 9), "count_mad": pytest.approx(80 / 27)}
    assert found["count_acc"] == pytest.approx(expected["count_acc"], abs=0.02)
    assert found["count_mad"] == pytest.approx(expected["count_mad"], abs=0.1)


def test_counting_refuses_other_counts():
    with pytest.raises(ValueError, match="9 classes"):
        count_by_choice(torch.ones(1, 9), torch.tensor([11]))
