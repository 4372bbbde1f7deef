import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from vlp.metrics import ood

MEASURES = (ood.auroc, ood.aupr, ood.fpr95, ood.fpr95_interpolated)


def nearest_recall(inside, outside):
    """MCM's rule, written as a loop over thresholds from the lowest that keeps all of in."""
    best = None
    for threshold in sorted({*inside, *outside}):
        if threshold < min(inside):
            continue
        kept = sum(score >= threshold for score in inside)
        distance = abs(100 * kept - 95 * len(inside))
        if best is None or distance < best[0]:
            best = distance, sum(score >= threshold for score in outside) / len(outside)
    return best[1]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-3, 6), min_size=1, max_size=30),  # few values: many ties
    st.lists(st.integers(-6, 3), min_size=1, max_size=30),
)
def test_measures_equal_the_peers_also_with_ties(inside, outside):
    found = ood.separation(np.array(inside, float), np.array(outside, float))
    truth = np.repeat([1, 0], [len(inside), len(outside)])
    scores = np.array(inside + outside, float)
    assert found.auroc == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert found.aupr == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    rate, recall, _ = roc_curve(truth, scores)
    expected = float(interp1d(recall, rate)(0.95))
    assert found.fpr95_interpolated == pytest.approx(expected, abs=1e-12)
    assert found.fpr95 == nearest_recall(inside, outside)
    pairs = [a == b for a in inside for b in outside]
    assert found.tied == pytest.approx(np.mean(pairs))


def test_auroc_is_the_share_of_pairs():
    generator = np.random.default_rng(0)
    inside, outside = generator.normal(0.5, 1, 40), generator.normal(0, 1, 60)
    pairs = [(a > b) + 0.5 * (a == b) for a in inside for b in outside]
    assert ood.auroc(inside, outside) == pytest.approx(np.mean(pairs), abs=1e-15)
    assert ood.auroc(inside, outside) == 1 - ood.auroc(outside, inside)


def test_both_false_positive_rates_agree_on_many_scores():
    generator = np.random.default_rng(1)
    inside, outside = generator.normal(2, 1, 20_000), generator.normal(0, 1, 20_000)
    # 95 % of N(2, 1) lie above 0.355, and of N(0, 1) 36.1 %
    assert ood.fpr95(inside, outside) == pytest.approx(0.361, abs=0.02)
    assert ood.fpr95(inside, outside) == pytest.approx(
        ood.fpr95_interpolated(inside, outside), abs=1e-3
    )


def test_between_two_recalls_that_are_as_near_the_lower_threshold_counts():
    inside = np.arange(10.0)  # recall 0.9 at 1 and 1.0 at 0
    assert ood.fpr95(inside, np.array([0.5, 0.5, -1.0, 20.0])) == 0.75


def test_constant_score_is_at_chance():
    inside, outside = np.ones(30), np.ones(10)
    assert ood.separation(inside, outside).metrics == {
        "auroc": 0.5,
        "aupr": 0.75,
        "fpr95": 1.0,
        "fpr95_interpolated": pytest.approx(0.95),
    }
    assert ood.separation(inside, outside).tied == 1.0


@pytest.mark.parametrize("classes", [1, 3, 1000])
@pytest.mark.parametrize("name", sorted(ood.SCORES))
def test_constant_model_is_at_chance_wherever_a_row_stands(name, classes, monkeypatch):
    monkeypatch.setattr(ood, "_CELLS", 7 * classes)
    row = torch.rand(1, classes, generator=torch.Generator().manual_seed(0))
    scores = ood.SCORES[name](row.expand(40, -1))
    assert ood.auroc(scores[:17], scores[17:]) == 0.5


def test_perfect_score():
    found = ood.separation(np.array([2.0, 3.0]), np.array([0.0, 1.0]))
    assert found.metrics == {"auroc": 1.0, "aupr": 1.0, "fpr95": 0.0, "fpr95_interpolated": 0.0}
    assert found.tied == 0.0


def softmax(row):
    weights = [math.exp(value - max(row)) for value in row]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("cells", [1 << 22, 11])
def test_scores_are_the_formulas(cells, monkeypatch):
    monkeypatch.setattr(ood, "_CELLS", cells)
    similarities = torch.rand(9, 5, generator=torch.Generator().manual_seed(0)) * 0.3
    rows = similarities.double().tolist()
    expected = {
        "msp": [max(softmax([100 * s for s in row])) for row in rows],
        "max_logit": [100 * max(row) for row in rows],
        "energy": [math.log(sum(math.exp(100 * s) for s in row)) for row in rows],
        "mcm": [max(softmax(row)) for row in rows],
    }
    assert set(ood.SCORES) == set(expected)
    for name, score in ood.SCORES.items():
        assert score(similarities) == pytest.approx(np.array(expected[name]), abs=1e-10), name
    warm = [max(softmax([s / 0.01 for s in row])) for row in rows]
    assert ood.mcm(similarities, temperature=0.01) == pytest.approx(np.array(warm), abs=1e-10)


def test_clipn_scores_are_the_formulas():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(6, 4, generator=generator, dtype=torch.float64).softmax(1)
    yes = torch.rand(6, 4, generator=generator, dtype=torch.float64)
    rows = list(zip(p.tolist(), yes.tolist(), strict=True))
    win = [b[a.index(max(a))] for a, b in rows]
    differ = [sum(x * y for x, y in zip(a, b, strict=True)) for a, b in rows]
    assert ood.ctw(p, yes) == pytest.approx(np.array(win), abs=1e-11)
    assert ood.atd(p, yes) == pytest.approx(np.array(differ), abs=1e-11)
    tied = torch.tensor([[0.4, 0.2, 0.4]])
    assert ood.ctw(tied, torch.tensor([[0.75, 0.1, 0.25]]))[0] == 0.25
    assert ood.ctw(tied, torch.tensor([[0.25, 0.1, 0.75]]))[0] == 0.25


def test_refuses_what_is_no_score():
    one, none = np.ones(3), np.zeros(0)
    for measure in (*MEASURES, ood.separation):
        with pytest.raises(ValueError, match="inside: needs one or more"):
            measure(none, one)
        with pytest.raises(ValueError, match="outside: needs one or more"):
            measure(one, none)
        with pytest.raises(ValueError, match="outside: NaN"):
            measure(one, np.array([1.0, np.nan]))
    for score in ood.SCORES.values():
        with pytest.raises(ValueError, match=r"got \(0, 3\)"):
            score(torch.zeros(0, 3))
        with pytest.raises(ValueError, match="NaN"):
            score(torch.tensor([[0.1, torch.nan]]))
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 2\)"):
        ood.ctw(torch.ones(2, 3), torch.ones(2, 2))
