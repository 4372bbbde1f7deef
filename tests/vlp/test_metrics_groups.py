import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from vlp.metrics import groups as metric
from vlp.metrics.classification import classify


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcd")), min_size=1, max_size=30))
def test_groups_equal_a_loop(samples):
    correct = np.array([right for right, _ in samples])
    names = np.array([name for _, name in samples])
    found = metric.group_accuracy(correct, names)
    assert list(found.accuracy) == sorted(set(names.tolist()))
    for name in found.accuracy:
        own = [right for right, other in samples if other == name]
        assert found.accuracy[name] == pytest.approx(sum(own) / len(own))
        assert found.count[name] == len(own)
    assert found.worst == min(found.accuracy.values()) == found.accuracy[found.worst_group]
    assert found.average == pytest.approx(correct.mean())


def test_numbers_name_groups_and_absent_ones_do_not_count():
    found = metric.group_accuracy(np.array([True, False, True]), np.array([7, 2, 7]))
    assert found.accuracy == {2: 0.0, 7: 1.0}
    assert (found.worst_group, found.worst) == (2, 0.0)


def test_ignored_groups_are_not_the_worst():
    correct, regions = np.array([True, False, True, False]), np.array(["Asia", "Other"] * 2)
    assert metric.group_accuracy(correct, regions).worst == 0.0
    assert metric.group_accuracy(correct, regions, ignore=["Other"]).worst == 1.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=40))
def test_f1_equals_sklearn_over_the_classes_that_occur(pairs):
    labels, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    expected = f1_score(
        labels, predicted, average="macro", labels=np.unique(labels), zero_division=0
    )
    assert metric.f1_macro(labels, predicted) == pytest.approx(expected, abs=1e-12)


def test_metrics_have_the_names_of_datacomp():
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.rand(200, 9, generator=generator), torch.arange(200) % 9
    places = np.arange(200) // 50
    outcome = classify(scores, labels)
    best = scores.topk(5).indices
    hit = (best == labels[:, None]).any(1).numpy()
    assert metric.group_metrics(outcome, places, k=5) == pytest.approx(
        {
            "acc_top5_avg": hit.mean(),
            "acc_top5_wg": min(hit[places == place].mean() for place in range(4)),
        }
    )
    first = best[:, 0].numpy()
    assert metric.group_metrics(outcome, places)["acc_avg"] == accuracy_score(labels, first)
    assert set(metric.group_metrics(outcome, places)) == {"acc_avg", "acc_wg"}


def test_constant_model_is_wrong_in_every_group():
    outcome = classify(torch.ones(30, 10), torch.arange(10).repeat(3))
    groups = np.arange(30) % 3
    assert metric.group_metrics(outcome, groups, k=5) == {"acc_top5_avg": 0, "acc_top5_wg": 0}
    assert metric.f1_macro(outcome.labels, outcome.predicted) == 0.0


def test_refuses_what_has_no_groups():
    with pytest.raises(ValueError, match="1 groups for 2 samples"):
        metric.group_accuracy(np.ones(2, bool), np.zeros(1, int))
    with pytest.raises(ValueError, match="0 groups for 0 samples"):
        metric.group_accuracy(np.ones(0, bool), np.zeros(0, int))
    with pytest.raises(ValueError, match=r"\['other'\] must be some but not all of \['Asia'"):
        metric.group_accuracy(np.ones(2, bool), np.array(["Other", "Asia"]), ignore=["other"])
    with pytest.raises(ValueError, match="not all"):
        metric.group_accuracy(np.ones(1, bool), np.array(["Other"]), ignore=["Other"])
    with pytest.raises(ValueError, match="k: 3 of 3 classes"):
        metric.group_metrics(classify(torch.rand(1, 3), torch.tensor([0])), np.zeros(1, int), k=3)
    with pytest.raises(ValueError, match="got 0 labels"):
        metric.f1_macro(np.zeros(0, int), np.zeros(0, int))
