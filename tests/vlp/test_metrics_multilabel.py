import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from vlp.metrics import multilabel


def loop(scores, labels):
    """Precision down to each picture that shows the class, every tie broken against the model."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], labels[i]))
    hits, total = 0, 0.0
    for rank, i in enumerate(order, 1):
        if labels[i]:
            hits += 1
            total += hits / rank
    return total / max(hits, 1)


@settings(max_examples=80, deadline=None)
@given(st.data(), st.integers(1, 12), st.integers(1, 4))
def test_equals_a_loop_also_with_ties(data, n, classes):
    cells = n * classes
    scores = data.draw(st.lists(st.integers(-2, 2), min_size=cells, max_size=cells))
    labels = data.draw(st.lists(st.booleans(), min_size=cells, max_size=cells))
    scores = np.array(scores, np.float32).reshape(n, classes)
    labels = np.array(labels).reshape(n, classes)
    found = multilabel.average_precision(scores, labels)
    for c in range(classes):
        s, y = scores[:, c].tolist(), labels[:, c].tolist()
        assert found.values[c] == pytest.approx(loop(s, y), abs=1e-12)
        negatives = {a for a, b in zip(s, y, strict=True) if not b}
        assert found.tied[c] == sum(b and a in negatives for a, b in zip(s, y, strict=True))
    assert found.positives.tolist() == labels.sum(0).tolist()
    assert found.mean == multilabel.mean_average_precision(scores, labels)
    assert found.without_positives == sum(not labels[:, c].any() for c in range(classes))


def test_without_ties_equals_sklearn():
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(300, 6)).astype(np.float32)
    labels = generator.random((300, 6)) < [0.5, 0.3, 0.1, 0.05, 0.9, 0.02]
    found = multilabel.average_precision(scores, labels)
    for c in range(6):
        expected = average_precision_score(labels[:, c], scores[:, c])
        assert found.values[c] == pytest.approx(expected, abs=1e-12)
    assert not found.tied.any()


def test_constant_model_has_the_lowest_precision():
    labels = np.zeros((10, 2), bool)
    labels[0, 0] = labels[3:5, 1] = True
    found = multilabel.average_precision(np.ones((10, 2), np.float32), labels)
    assert found.values == pytest.approx([1 / 10, (1 / 9 + 2 / 10) / 2])
    assert found.tied.tolist() == [1, 2]


def test_random_scores_are_at_chance():
    generator = np.random.default_rng(0)
    labels = generator.random((4000, 20)) < 0.2
    scores = generator.random((4000, 20)).astype(np.float32)
    assert multilabel.mean_average_precision(scores, labels) == pytest.approx(0.2, abs=0.01)


def test_a_class_that_no_picture_shows_counts_zero():
    labels = np.array([[1, 0], [0, 0]])
    found = multilabel.average_precision(np.array([[0.9, 0.1], [0.1, 0.2]]), labels)
    assert found.values.tolist() == [1.0, 0.0]
    assert found.mean == 0.5
    assert found.without_positives == 1


def test_refuses_what_has_no_ranking():
    ones = np.ones((2, 2))
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(2, 1\)"):
        multilabel.average_precision(ones, ones[:, :1])
    with pytest.raises(ValueError, match=r"\(0, 2\)"):
        multilabel.average_precision(ones[:0], ones[:0])
    with pytest.raises(ValueError, match="NaN"):
        multilabel.average_precision(np.full((2, 2), np.nan), ones)
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        multilabel.average_precision(ones, 2 * ones)
