import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from vlp.metrics import probe as metric
from vlp.metrics.probe import LabelledFeatures


def made(n, width, classes, seed=0, spread=1.0):
    """Unit features around a random centre of each class; every class has a sample."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    labels = torch.cat(
        [torch.arange(classes), torch.randint(classes, (n - classes,), generator=generator)]
    )
    noise = torch.randn(n, width, generator=generator)
    features = F.normalize(centers[labels] + spread * noise, dim=-1)
    return LabelledFeatures(features=features, labels=labels, classes=classes)


def sklearn_fit(samples, c):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = LogisticRegression(C=c, max_iter=20_000, tol=1e-9)
        return fitted.fit(samples.features.double().numpy(), samples.labels.numpy())


@pytest.mark.parametrize("cells", [1 << 22, 50])
@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_equals_sklearn(classes, c, cells, monkeypatch):
    monkeypatch.setattr(metric, "_CELLS", cells)
    train, other = made(150, 8, classes), made(40, 8, classes, seed=1)
    peer = sklearn_fit(train, c)
    found = metric.fit_probe(train, c, tolerance=1e-8)
    assert found.converged
    expected = peer.predict_proba(other.features.double().numpy())
    assert found.logits(other.features).softmax(1).numpy() == pytest.approx(expected, abs=1e-5)
    if classes > 2:
        assert found.weight.numpy() == pytest.approx(peer.coef_, abs=1e-4)
        assert found.bias.numpy() == pytest.approx(peer.intercept_, abs=1e-4)
    score = peer.score(other.features.double().numpy(), other.labels.numpy())
    assert found.accuracy(other) == pytest.approx(score)


@pytest.mark.parametrize("c", [1e-4, 1.0, 1e3])
def test_features_in_a_narrow_cone_are_fitted_as_well(c):
    """The features of a dual encoder point much the same way, and classes differ in size."""
    train = made(150, 8, 5)
    order = train.labels.argsort()[10:130]  # fewer of the first and the last class
    cone = F.normalize(train.features[order] + 3.0, dim=-1)
    train = LabelledFeatures(features=cone, labels=train.labels[order], classes=5)
    peer, found = sklearn_fit(train, c), metric.fit_probe(train, c)
    assert found.converged
    expected = peer.predict_proba(cone.double().numpy())
    assert found.logits(cone).softmax(1).numpy() == pytest.approx(expected, abs=1e-4)


def test_the_gradient_is_that_of_the_loss():
    train = made(30, 4, 3)
    both = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    both.requires_grad_()
    logits = train.features.double() @ both[:, :-1].T + both[:, -1]
    expected = F.cross_entropy(logits, train.labels)
    expected.backward()
    features, plain = train.features.double(), both.detach()
    loss, slope = metric._loss(features, train.labels, plain[:, :-1], plain[:, -1])
    assert float(loss) == pytest.approx(expected.item(), abs=1e-14)
    assert slope.numpy() == pytest.approx(both.grad.numpy(), abs=1e-14)


def test_a_start_changes_the_time_and_not_the_optimum():
    train = made(200, 8, 4)
    cold = metric.fit_probe(train, 1.0, tolerance=1e-8)
    near = metric.fit_probe(train, 0.8, tolerance=1e-8)
    warm = metric.fit_probe(train, 1.0, start=near, tolerance=1e-8)
    assert warm.iterations < cold.iterations
    assert warm.weight.numpy() == pytest.approx(cold.weight.numpy(), abs=1e-5)
    assert metric.fit_probe(train, 1.0, start=cold, tolerance=1e-7).iterations == 0


def test_iterations_that_run_out_are_said():
    train = made(200, 8, 4)
    assert not metric.fit_probe(train, 1.0, max_iterations=2).converged
    trials = metric.sweep(train, train, max_iterations=1).trials
    assert not all(trial.converged for trial in trials)


def test_the_sweep_halves_the_interval_around_the_best():
    train, validation = made(60, 8, 3, spread=1.5), made(200, 8, 3, seed=1, spread=1.5)
    found = metric.sweep(train, validation)
    tried = {trial.c: trial for trial in found.trials}
    exponents = [8 * np.log10(c) for c in tried]
    assert exponents == pytest.approx(sorted(exponents))
    assert exponents == pytest.approx([round(e) for e in exponents])  # eighths of a decade
    for coarse in (1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6):
        assert coarse in tried
    best = max(trial.accuracy for trial in found.trials)
    assert tried[found.best.c].accuracy == best == found.best.accuracy(validation)
    assert found.best.c == min(c for c, trial in tried.items() if trial.accuracy == best)
    # the search replayed from its own table: each step is half as wide, around the best so far
    known = set(range(-48, 49, 16))
    at = {round(8 * np.log10(c)): trial.accuracy for c, trial in tried.items()}
    for step in (8, 4, 2, 1):
        middle = min(known, key=lambda e: (-at[e], e))
        known |= {e for e in (middle - step, middle + step) if abs(e) <= 48}
    assert known == set(at)


def test_each_fit_of_a_sweep_is_the_optimum():
    train = made(60, 8, 3, spread=1.5)
    found = metric.sweep(train, made(100, 8, 3, seed=1, spread=1.5))
    for trial in found.trials:
        cold = metric.fit_probe(train, trial.c)
        assert trial.loss == pytest.approx(cold.loss, abs=1e-4)


def test_constant_features_are_at_chance():
    labels = torch.arange(4).repeat(25)
    same = LabelledFeatures(features=torch.ones(100, 8) / 8**0.5, labels=labels, classes=4)
    assert metric.sweep(same, same).best.accuracy(same) <= 0.25


def test_few_shots_are_drawn_by_class():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(7), 20))
    drawn = metric.few_shot(labels, 4, classes=7, seed=1)
    assert labels[drawn].tolist() == np.repeat(np.arange(7), 4).tolist()
    assert len(set(drawn.tolist())) == 28
    assert np.array_equal(drawn, metric.few_shot(labels, 4, classes=7, seed=1))
    assert not np.array_equal(drawn, metric.few_shot(labels, 4, classes=7, seed=2))
    fewer = metric.few_shot(labels, 2, classes=7, seed=1)
    assert np.array_equal(fewer.reshape(7, 2), drawn.reshape(7, 4)[:, :2])
    samples = LabelledFeatures(
        features=torch.rand(140, 2), labels=torch.from_numpy(labels), classes=7
    )
    assert samples.select(drawn).counts().tolist() == [4] * 7
    assert torch.equal(samples.select(drawn).features, samples.features[torch.from_numpy(drawn)])


def test_refuses_what_cannot_be_fitted():
    with pytest.raises(ValueError, match="class 2 has 1 samples, fewer than 2 shots"):
        metric.few_shot(np.array([0, 0, 1, 1, 2]), 2, classes=3, seed=0)
    with pytest.raises(ValueError, match="shots: 0"):
        metric.few_shot(np.array([0]), 0, classes=1, seed=0)
    train = made(20, 4, 3)
    with pytest.raises(ValueError, match="c: 0"):
        metric.fit_probe(train, 0.0)
    with pytest.raises(ValueError, match=r"start: a probe of shape \(2, 4\), not \(3, 4\)"):
        metric.fit_probe(train, 1.0, start=metric.fit_probe(made(20, 4, 2), 1.0))
    with pytest.raises(ValueError, match="of 4 classes, 1 have none, the first is class 3"):
        metric.fit_probe(
            LabelledFeatures(features=train.features, labels=train.labels, classes=4), 1.0
        )
    with pytest.raises(ValueError, match="two or more classes"):
        metric.fit_probe(made(5, 4, 1), 1.0)


def test_refuses_what_are_no_labelled_features():
    ones = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"got \(2, 3\) and 1 labels"):
        LabelledFeatures(features=ones, labels=torch.tensor([0]), classes=2)
    with pytest.raises(ValueError, match="labels: from 0 to 2, but there are 2 classes"):
        LabelledFeatures(features=ones, labels=torch.tensor([0, 2]), classes=2)
    with pytest.raises(ValueError, match="NaN"):
        LabelledFeatures(features=ones * torch.nan, labels=torch.tensor([0, 1]), classes=2)
