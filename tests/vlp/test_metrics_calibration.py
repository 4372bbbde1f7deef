import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from vlp.metrics import calibration as metric


def made(n, classes, seed=0, sure=0.1):
    generator = torch.Generator().manual_seed(seed)
    similarities = torch.randn(n, classes, generator=generator) * sure
    p = similarities.double().mul(10).softmax(1)  # the truth: a scale of 10
    return similarities, torch.multinomial(p, 1, generator=generator)[:, 0]


def reference(confidence, correct, bins):
    """Bins, one sample at a time."""
    rows = [[] for _ in range(bins)]
    for c, right in zip(confidence, correct, strict=True):
        b = next(b for b in range(bins) if c <= (b + 1) / bins or b == bins - 1)
        rows[b].append((c, right))
    return rows, sum(
        abs(sum(c for c, _ in row) - sum(right for _, right in row)) for row in rows
    ) / len(confidence)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 16), st.booleans()), min_size=1, max_size=40),
    st.sampled_from([1, 2, 4, 8, 16]),  # edges are binary fractions: exact
)
def test_bins_equal_a_loop(samples, bins):
    confidence = np.array([c / 16 for c, _ in samples])
    correct = np.array([right for _, right in samples])
    rows, error = reference(confidence, correct, bins)
    found = metric.reliability(confidence, correct, bins)
    assert found.count.tolist() == [len(row) for row in rows]
    assert found.accuracy == pytest.approx([np.mean([r for _, r in row] or [0]) for row in rows])
    assert found.confidence == pytest.approx([np.mean([c for c, _ in row] or [0]) for row in rows])
    assert metric.expected_calibration_error(confidence, correct, bins) == pytest.approx(error)


@pytest.mark.parametrize("cells", [1 << 22, 13])
def test_equals_the_formulas(cells, monkeypatch):
    monkeypatch.setattr(metric, "_CELLS", cells)
    similarities, labels = made(50, 4)
    found = metric.calibration(similarities, labels, scale=20.0)
    p = []
    for row in similarities.double().tolist():
        weights = [math.exp(20 * s) for s in row]
        p.append([weight / sum(weights) for weight in weights])
    labels = labels.tolist()
    correct = [row.index(max(row)) == y for row, y in zip(p, labels, strict=True)]
    brier = [
        sum((value - (c == y)) ** 2 for c, value in enumerate(row))
        for row, y in zip(p, labels, strict=True)
    ]
    confidence = [max(row) for row in p]
    assert found.confidence == pytest.approx(np.array(confidence))
    assert found.correct.tolist() == correct
    assert found.metrics == pytest.approx(
        {
            "ece": reference(confidence, correct, 15)[1],
            "nll": log_loss(labels, p, labels=range(4)),
            "brier": np.mean(brier),
            "mean_confidence": np.mean(confidence),
        }
    )


def test_constant_model_is_never_right():
    labels = torch.arange(10).repeat(3)
    found = metric.calibration(torch.full((30, 10), 0.3), labels)
    assert not found.correct.any()
    assert found.metrics == pytest.approx(
        {"ece": 0.1, "nll": math.log(10), "brier": 0.9, "mean_confidence": 0.1}
    )
    fitted = metric.fit_temperature(torch.full((30, 10), 0.3), labels)
    assert fitted.temperature == 1.0
    assert fitted.nll == fitted.nll_before == pytest.approx(math.log(10))


def test_a_calibrated_model_has_no_error():
    similarities, labels = made(40_000, 5)
    found = metric.calibration(similarities, labels, scale=10.0)
    assert found.metrics["ece"] < 0.01
    assert metric.calibration(similarities, labels, scale=100.0).metrics["ece"] > 0.2


def test_ties_are_decided_before_the_scale():
    """Two neighbouring floats are equal once multiplied by 100 and rounded; here they are not."""
    low = torch.tensor(0.30000001192092896)
    high = torch.nextafter(low, torch.tensor(1.0))
    similarities = torch.stack([high, low])[None]
    assert metric.calibration(similarities, torch.tensor([0])).correct.all()
    assert not metric.calibration(similarities, torch.tensor([1])).correct.any()


def test_the_temperature_is_the_one_that_made_the_labels():
    similarities, labels = made(20_000, 5)
    found = metric.fit_temperature(similarities, labels)  # a scale of 100 where 10 is the truth
    assert found.temperature == pytest.approx(10.0, rel=0.05)
    assert found.nll < found.nll_before
    assert not found.at_bound
    assert found.nll == metric.nll(similarities, labels, scale=100 / found.temperature)
    # at the minimum the mean logit of the truth is the one that the model expects
    logits = 100 * similarities.double()
    p = (logits / found.temperature).softmax(1)
    truth = logits.gather(1, labels[:, None])[:, 0]
    assert truth.mean() == pytest.approx(float((p * logits).sum(1).mean()), abs=1e-4)


def test_answers_that_are_all_right_have_no_best_temperature():
    found = metric.fit_temperature(torch.eye(4), torch.arange(4), scale=1.0)
    assert found.at_bound
    assert found.temperature == pytest.approx(1e-3)
    wrong = metric.fit_temperature(torch.eye(4), torch.arange(4).roll(1), scale=1.0)
    assert wrong.at_bound
    assert wrong.temperature == pytest.approx(1e3, rel=0.01)


def test_refuses_what_has_no_calibration():
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        metric.expected_calibration_error(np.array([np.nan]), np.array([True]))
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        metric.expected_calibration_error(np.array([1.5]), np.array([True]))
    with pytest.raises(ValueError, match="0 confidences"):
        metric.reliability(np.zeros(0), np.zeros(0, bool))
    with pytest.raises(ValueError, match="2 outcomes"):
        metric.reliability(np.ones(1), np.ones(2, bool))
    with pytest.raises(ValueError, match="0 bins"):
        metric.reliability(np.ones(1), np.ones(1, bool), bins=0)
    with pytest.raises(ValueError, match="NaN"):
        metric.calibration(torch.full((1, 2), torch.nan), torch.tensor([0]))
    with pytest.raises(ValueError, match="labels"):
        metric.fit_temperature(torch.rand(1, 2), torch.tensor([2]))
