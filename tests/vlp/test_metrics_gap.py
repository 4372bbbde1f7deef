import math
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vlp.metrics import gap


def features(n, width, seed, shift=0.0):
    rows = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    return F.normalize(rows + shift, dim=-1)


def reference(x, y):
    """Written from the formulas, with loops."""
    x, y = np.float64(x.numpy()), np.float64(y.numpy())
    n = len(x)

    def mean_closeness(pairs):
        return math.log(np.mean([math.exp(-2 * ((a - b) ** 2).sum()) for a, b in pairs]))

    def rank(rows):
        values = np.linalg.svd(rows, compute_uv=False)
        shares = values / values.sum()
        return math.exp(-sum(p * math.log(p) for p in shares if p > 0))

    center_x, center_y = x.mean(0), y.mean(0)
    within = [mean_closeness(combinations(rows, 2)) for rows in (x, y)]
    return {
        "centroid_distance": math.sqrt(((center_x - center_y) ** 2).sum()),
        "centroid_cosine": center_x
        @ center_y
        / math.sqrt(center_x @ center_x)
        / math.sqrt(center_y @ center_y),
        "uniformity": sum(within) / 2,
        "cross_uniformity": mean_closeness((x[i], y[j]) for i, j in permutations(range(n), 2)),
        "alignment": np.mean([((a - b) ** 2).sum() for a, b in zip(x, y, strict=True)]),
        "image_effective_rank": rank(x),
        "text_effective_rank": rank(y),
    }


@pytest.mark.parametrize("cells", [1 << 22, 70])
def test_equals_the_formulas(cells, monkeypatch):
    monkeypatch.setattr(gap, "_CELLS", cells)
    x, y = features(23, 7, 0), features(23, 7, 1, shift=0.3)
    found = gap.gap_metrics(x, y)
    for name, value in reference(x, y).items():
        assert found[name] == pytest.approx(value, abs=1e-9), name
    assert set(found) == {*reference(x, y), "linear_separability"}


def test_known_values():
    """Equal embeddings give 0 everywhere; orthonormal pairs give -4, as exp(-2 * 2) is the mean."""
    one = F.normalize(torch.ones(5, 4), dim=-1)
    found = gap.gap_metrics(one, one)
    for name in ("centroid_distance", "uniformity", "cross_uniformity", "alignment"):
        assert found[name] == pytest.approx(0.0, abs=1e-7)
    assert found["centroid_cosine"] == pytest.approx(1.0)
    assert found["image_effective_rank"] == pytest.approx(1.0)
    found = gap.gap_metrics(torch.eye(6), torch.eye(6))
    assert found["uniformity"] == pytest.approx(-4.0)
    assert found["cross_uniformity"] == pytest.approx(-4.0)
    assert found["image_effective_rank"] == pytest.approx(6.0)
    assert gap.effective_rank(torch.eye(3).repeat(2, 2)) == pytest.approx(3.0)


def test_constant_model_is_not_separable():
    """Chance is 0.5: what lies on the boundary counts half."""
    one = F.normalize(torch.ones(20, 8), dim=-1)
    assert gap.linear_separability(one, one) == 0.5
    mixed = gap.linear_separability(features(2000, 8, 0), features(2000, 8, 1))
    assert mixed == pytest.approx(0.5, abs=0.06)


def test_what_lies_apart_is_separable():
    assert gap.linear_separability(features(50, 8, 0, 3.0), features(50, 8, 1, -3.0)) == 1.0
    one = features(60, 8, 0, 0.2)
    found = [gap.linear_separability(one, features(60, 8, 1), seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1]


def test_separability_is_the_optimum_of_the_penalised_regression():
    x, y = features(40, 3, 0, 0.2).double().numpy(), features(40, 3, 1).double().numpy()
    weights, bias = gap._fit(x, y)
    rows, sign = np.concatenate([x, y]), np.repeat([1.0, -1.0], 40)
    slope = -sign / (1 + np.exp(sign * (rows @ weights + bias)))
    assert np.abs(rows.T @ slope + weights).max() < 1e-3
    assert abs(slope.sum()) < 1e-3


def test_refuses_what_are_no_pairs():
    with pytest.raises(ValueError, match=r"two or more pairs, got \(1, 4\)"):
        gap.gap_metrics(torch.eye(4)[:1], torch.eye(4)[:1])
    with pytest.raises(ValueError, match="NaN"):
        gap.gap_metrics(torch.full((3, 2), torch.nan), torch.ones(3, 2))
