import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp.metrics import chance, similarity
from vlp.metrics.classification import classify, classify_features, mean_per_class_recall


def brute_force(scores, labels):
    """Rank of the true class, one sample and one class at a time."""
    ranks = []
    for row, label in zip(scores, labels, strict=True):
        rank = 1
        for c, score in enumerate(row):
            if c != label and score >= row[label]:
                rank += 1
        ranks.append(rank)
    return ranks


@st.composite
def cases(draw):
    classes = draw(st.integers(1, 8))
    n = draw(st.integers(1, 12))
    row = st.lists(st.integers(-2, 2), min_size=classes, max_size=classes)  # few values: many ties
    scores = draw(st.lists(row, min_size=n, max_size=n))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    return torch.tensor(scores, dtype=torch.float32), torch.tensor(labels)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_equals_brute_force(case):
    scores, labels = case
    found = classify(scores, labels)
    expected = brute_force(scores.tolist(), labels.tolist())
    assert found.rank.tolist() == expected
    assert found.metrics["acc1"] == pytest.approx(np.mean([rank == 1 for rank in expected]))
    assert ("acc5" in found.metrics) == (scores.shape[1] > 5)
    if "acc5" in found.metrics:
        assert found.metrics["acc5"] == pytest.approx(np.mean([rank <= 5 for rank in expected]))
    assert found.confusion.sum() == len(labels)
    assert np.diag(found.confusion).sum() == sum(rank == 1 for rank in expected)
    recalls = [
        np.mean([r == 1 for r, y in zip(expected, labels.tolist(), strict=True) if y == c])
        for c in set(labels.tolist())
    ]
    assert found.metrics["mean_per_class_recall"] == pytest.approx(np.mean(recalls))


def test_constant_model_is_wrong_everywhere():
    labels = torch.arange(10).repeat(3)
    found = classify(torch.ones(30, 10), labels)
    assert found.metrics == {"acc1": 0.0, "acc5": 0.0, "mean_per_class_recall": 0.0}
    assert found.tied.all()
    assert np.diag(found.confusion).sum() == 0


def test_random_scores_are_at_chance():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(20_000, 8, generator=generator)
    labels = torch.randint(8, (20_000,), generator=generator)
    found = classify(scores, labels).metrics
    for name, expected in chance.classification(8).items():
        assert found[name] == pytest.approx(expected, abs=0.01)


def test_absent_classes_do_not_count():
    labels, correct = np.array([0, 0, 3]), np.array([True, False, True])
    assert mean_per_class_recall(labels, correct) == pytest.approx((0.5 + 1.0) / 2)


def test_features_are_classified_as_their_scores(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    image, text = torch.randn(300, 4, generator=generator), torch.randn(9, 4, generator=generator)
    labels = torch.arange(300) % 9
    expected = classify(similarity.similarity(image, text), labels, top=3)
    monkeypatch.setattr(similarity, "_CELLS", 9 * 70)
    assert len(list(similarity.similarity_chunks(image, text))) > 1
    found = classify_features(image, text, labels, top=3)
    for name in ("labels", "predicted", "rank", "tied", "top", "top_score", "classes"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    with pytest.raises(ValueError, match="no sample"):
        classify_features(image[:0], text, labels[:0])


def test_refuses_nan_and_foreign_labels():
    with pytest.raises(ValueError, match="NaN"):
        classify(torch.tensor([[1.0, float("nan")]]), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"labels: from 0 to 2.*2 classes"):
        classify(torch.rand(2, 2), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="no sample"):
        classify(torch.rand(0, 2), torch.zeros(0, dtype=torch.int64))


def test_the_best_classes_put_wrong_ones_first_within_a_tie():
    scores = torch.tensor([[0.5, 0.5, 0.1], [0.2, 0.9, 0.3], [0.7, 0.7, 0.7]])
    found = classify(scores, torch.tensor([0, 1, 0]), top=2)
    assert found.top[0].tolist() == [1, 0]
    assert found.top[1].tolist() == [1, 2]
    assert sorted(found.top[2].tolist()) == [1, 2]
    assert np.allclose(found.top_score, [[0.5, 0.5], [0.9, 0.3], [0.7, 0.7]])
