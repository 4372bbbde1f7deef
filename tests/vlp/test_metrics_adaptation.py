import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier

from vlp.metrics import adaptation as metric
from vlp.metrics import similarity
from vlp.metrics.classification import classify
from vlp.metrics.probe import LabelledFeatures

CLASSES, WIDTH = 5, 6


@pytest.fixture(params=[1 << 22, 30])
def cells(request, monkeypatch):
    """Whole and in small pieces."""
    monkeypatch.setattr(metric, "_CELLS", request.param)
    monkeypatch.setattr(similarity, "_CELLS", request.param)


def made(n, seed, spread=0.8):
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(n) % CLASSES
    noise = torch.randn(n, WIDTH, generator=generator)
    return LabelledFeatures(
        features=F.normalize(centers[labels] + spread * noise, dim=-1),
        labels=labels,
        classes=CLASSES,
    )


def texts():
    rows = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(5))
    return F.normalize(rows, dim=-1)


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def rows(tensor):
    return tensor.double().tolist()


def test_gda_is_the_formula(cells):
    support, queries = made(22, 0), made(9, 1)
    x, y = support.features.double().numpy(), support.labels.numpy()
    mu = np.stack(
        [np.mean([row for row, c in zip(x, y, strict=True) if c == k], 0) for k in range(CLASSES)]
    )
    centred = np.stack([row - mu[c] for row, c in zip(x, y, strict=True)])
    cov = np.cov(centred.T)
    precision = WIDTH * np.linalg.pinv((len(x) - 1) * cov + np.trace(cov) * np.eye(WIDTH))
    weight = mu @ precision
    bias = [math.log(1 / CLASSES) - mu[k] @ precision @ mu[k] / 2 for k in range(CLASSES)]
    found = metric.fit_gda(support)
    assert found.weight.numpy() == pytest.approx(weight, abs=1e-9)
    assert found.bias.numpy() == pytest.approx(np.array(bias), abs=1e-9)
    logits = metric.gda_logits(queries.features, texts(), found, alpha=0.3)
    for i, f in enumerate(rows(queries.features)):
        for k, text in enumerate(rows(texts())):
            expected = 100 * dot(f, text) + 0.3 * (dot(f, weight[k]) + bias[k])
            assert float(logits[i, k]) == pytest.approx(expected, rel=1e-6, abs=1e-5)


def test_tip_is_the_formula(cells):
    support, queries = made(22, 0), made(9, 1)
    logits = metric.tip_logits(queries.features, texts(), support, alpha=1.3, beta=5.5)
    keys, labels = rows(support.features), support.labels.tolist()
    for i, f in enumerate(rows(queries.features)):
        for k, text in enumerate(rows(texts())):
            cache = sum(
                math.exp(-5.5 * (1 - dot(f, key)))
                for key, c in zip(keys, labels, strict=True)
                if c == k
            )
            expected = 100 * dot(f, text) + 1.3 * cache
            assert float(logits[i, k]) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_neighbours_vote_as_the_formula_and_as_sklearn(cells):
    support, queries = made(42, 0), made(30, 1)
    found = metric.nearest_neighbours(queries, support, k=5, tau=0.07)
    keys, labels = rows(support.features), support.labels.tolist()
    for i, f in enumerate(rows(queries.features)):
        near = sorted(range(len(keys)), key=lambda j, f=f: -dot(f, keys[j]))[:5]
        votes = [0.0] * CLASSES
        for j in near:
            votes[labels[j]] += math.exp(dot(f, keys[j]) / 0.07)
        truth = int(queries.labels[i])
        assert found.rank[i] == sum(vote >= votes[truth] for vote in votes)
        assert found.top_score[i] == pytest.approx(sorted(votes, reverse=True), rel=1e-5)
    peer = KNeighborsClassifier(
        5, metric="cosine", algorithm="brute", weights=lambda far: np.exp((1 - far) / 0.07)
    ).fit(support.features.double().numpy(), labels)
    expected = peer.predict(queries.features.double().numpy())
    assert found.correct().tolist() == (expected == queries.labels.numpy()).tolist()


def test_the_searches_take_the_best_of_the_grid(cells):
    support, validation = made(20, 0), made(40, 1)
    gda = metric.fit_gda(support)
    found = metric.search_gda(validation, texts(), gda)
    assert [trial.alpha for trial in found.trials] == [1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0]
    for trial in found.trials:
        logits = metric.gda_logits(validation.features, texts(), gda, alpha=trial.alpha)
        expected = classify(logits, validation.labels).correct().mean()
        assert trial.accuracy == pytest.approx(expected)
        assert trial.beta is None
    assert found.best.accuracy == max(trial.accuracy for trial in found.trials)

    tip = metric.search_tip(validation, texts(), support, alphas=(0.5, 50.0), betas=(1.0, 5.0, 9.0))
    assert len(tip.trials) == 6
    for trial in tip.trials:
        logits = metric.tip_logits(
            validation.features, texts(), support, alpha=trial.alpha, beta=trial.beta
        )
        expected = classify(logits, validation.labels).correct().mean()
        assert trial.accuracy == pytest.approx(expected)
    first = next(trial for trial in tip.trials if trial.accuracy == tip.best.accuracy)
    assert tip.best == first
    assert tip.best.accuracy == max(trial.accuracy for trial in tip.trials)


def test_adaptation_helps_a_classifier_of_noise():
    """The texts say nothing about the classes; a few labelled pictures do."""
    support, validation, test = made(64, 0), made(200, 1), made(400, 2)
    gda = metric.fit_gda(support)
    zero = classify(similarity.similarity(test.features, texts()), test.labels).metrics["acc1"]
    alpha = metric.search_gda(validation, texts(), gda).best.alpha
    logits = metric.gda_logits(test.features, texts(), gda, alpha=alpha)
    assert classify(logits, test.labels).metrics["acc1"] > zero + 0.2
    assert metric.nearest_neighbours(test, support, k=5).metrics["acc1"] > zero + 0.2


def test_constant_model_is_never_right(cells):
    one = F.normalize(torch.rand(1, WIDTH, generator=torch.Generator().manual_seed(1)), dim=-1)

    def constant(n):
        labels = torch.arange(n) % CLASSES
        return LabelledFeatures(features=one.expand(n, -1), labels=labels, classes=CLASSES)

    support, queries, classifier = constant(40), constant(13), one.expand(CLASSES, -1)
    gda = metric.fit_gda(support)
    assert not gda.weight.any()
    assert metric.search_gda(queries, classifier, gda).best.accuracy == 0.0
    assert metric.search_tip(queries, classifier, support).best.accuracy == 0.0
    assert metric.nearest_neighbours(queries, support, k=20).metrics["acc1"] == 0.0
    # a class with more samples has more votes, which is chance and no more
    for accuracy in (
        metric.nearest_neighbours(queries, constant(42), k=20).metrics["acc1"],
        metric.search_tip(queries, classifier, constant(42)).best.accuracy,
    ):
        assert accuracy <= 3 / 13


def test_neighbours_that_tie_put_wrong_classes_first():
    features = torch.eye(2)[[0, 0, 1]]
    support = LabelledFeatures(features=features, labels=torch.tensor([0, 1, 1]), classes=2)
    for label in (0, 1):
        query = LabelledFeatures(features=features[:1], labels=torch.tensor([label]), classes=2)
        assert not metric.nearest_neighbours(query, support, k=1).correct().any()
        assert metric.nearest_neighbours(query, support, k=2).tied.all()


def test_gda_of_one_shot_is_zero_shot():
    support = made(5, 0)
    assert (support.counts() == 1).all()
    gda = metric.fit_gda(support)
    assert not gda.weight.any()
    assert len(set(gda.bias.tolist())) == 1
    queries = made(8, 1).features
    found = metric.gda_logits(queries, texts(), gda, alpha=10.0)
    assert torch.equal(found.argmax(1), (queries @ texts().T).argmax(1))


def test_refuses_what_cannot_adapt():
    support = made(8, 0)
    missing = LabelledFeatures(
        features=torch.eye(WIDTH)[:2], labels=torch.tensor([0, 0]), classes=2
    )
    with pytest.raises(ValueError, match="class 1 has none"):
        metric.fit_gda(missing)
    with pytest.raises(ValueError, match="k: 20 neighbours of 8"):
        metric.nearest_neighbours(support, support)
    with pytest.raises(ValueError, match="classes: 2 on one side and 5 on the other"):
        metric.nearest_neighbours(missing, support, k=1)
    with pytest.raises(ValueError, match="NaN"):
        metric.tip_logits(support.features, texts() * torch.nan, support, alpha=1.0, beta=1.0)
    with pytest.raises(ValueError, match=r"one width, got \(8, 6\) and \(5, 5\)"):
        metric.tip_logits(support.features, texts()[:, :5], support, alpha=1.0, beta=1.0)
    with pytest.raises(ValueError, match="classes: 3 on one side"):
        metric.gda_logits(support.features, texts()[:3], metric.fit_gda(support), alpha=1.0)
    with pytest.raises(ValueError, match="grid"):
        metric.search_gda(support, texts(), metric.fit_gda(support), alphas=())
