"""The geometry against its formulas, in float64 loops or by scipy."""

import math
from itertools import combinations, permutations, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from scipy.spatial.distance import cdist, pdist

from vlp.metrics import (
    chance,
    geometry,
    hubness,
    intrinsic_dimension,
    separability,
    similarity,
    uniformity,
)
from vlp.metrics.modality_gap import gap_statistics
from vlp.metrics.spectrum import components_for_variance, effective_rank, singular_values

WIDTH = 7


def features(n, width, seed, shift=0.0):
    rows = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    return F.normalize(rows + shift, dim=-1)


def half_distance(a, b):
    return (1 - a @ b / math.sqrt(a @ a) / math.sqrt(b @ b)) / 2


def relative_gap(x, y):
    paired = np.mean([half_distance(a, b) for a, b in zip(x, y, strict=True)])
    within = [np.mean([half_distance(a, b) for a, b in combinations(rows, 2)]) for rows in (x, y)]
    return paired / (paired + sum(within) / 2)


def mean_closeness(pairs):
    return math.log(np.mean([math.exp(-2 * ((a - b) ** 2).sum()) for a, b in pairs]))


def entropy_rank(rows):
    values = np.linalg.svd(rows, compute_uv=False)
    shares = values / values.sum()
    return math.exp(-sum(p * math.log(p) for p in shares if p > 0))


def gap_reference(x, y):
    n = len(x)
    center_x, center_y = x.mean(0), y.mean(0)
    within = [mean_closeness(combinations(rows, 2)) for rows in (x, y)]
    own = [a @ b for a, b in zip(x, y, strict=True)]
    strangers = [x[i] @ y[j] for i, j in permutations(range(n), 2)]
    apart = x - center_x, y - center_y
    deviation = math.sqrt((np.var(own) + np.var(strangers)) / 2)
    return {
        "centroid_distance": math.sqrt(((center_x - center_y) ** 2).sum()),
        "centroid_cosine": 1 - 2 * half_distance(center_x, center_y),
        "image_uniformity": within[0],
        "text_uniformity": within[1],
        "uniformity": sum(within) / 2,
        "cross_uniformity": mean_closeness((x[i], y[j]) for i, j in permutations(range(n), 2)),
        "alignment": np.mean([((a - b) ** 2).sum() for a, b in zip(x, y, strict=True)]),
        "centered_alignment": np.mean([((a - b) ** 2).sum() for a, b in zip(*apart, strict=True)]),
        "rmg": relative_gap(x, y),
        "centered_rmg": relative_gap(*apart),
        "positive_cosine": np.mean(own),
        "negative_cosine": np.mean(strangers),
        "cosine_margin": np.mean(own) - np.mean(strangers),
        "d_prime": (np.mean(own) - np.mean(strangers)) / deviation,
        "pair_auroc": stats.mannwhitneyu(own, strangers).statistic / n / len(strangers),
    }


def shape_reference(rows):
    variances = np.linalg.eigvalsh(np.cov(rows.T))[::-1]
    shares = np.cumsum(variances) / variances.sum()
    return {
        "effective_rank": entropy_rank(rows),
        "centered_effective_rank": entropy_rank(rows - rows.mean(0)),
        "participation_ratio": variances.sum() ** 2 / (variances**2).sum(),
        "k95": 1 + next(k for k, share in enumerate(shares) if share >= 0.95),
        "twonn": two_nn_reference(rows),
        "mle": likelihood_reference(rows),
    }


def two_nn_reference(rows):
    near = np.sort(cdist(rows, rows), axis=1)[:, 1:3]
    ratios = sorted(math.log(second / first) for first, second in near)
    kept = ratios[: int(0.9 * len(rows))]
    heights = [-math.log(1 - (i + 1) / len(rows)) for i in range(len(kept))]
    return np.linalg.lstsq(np.array(kept)[:, None], np.array(heights), rcond=None)[0][0]


def likelihood_reference(rows, k=20):
    inverse = []
    for distances in np.sort(cdist(rows, rows), axis=1)[:, 1:]:
        logs = [math.log(distances[k - 1] / distances[j]) for j in range(k - 1)]
        inverse.append(sum(logs) / (k - 1))
    return 1 / np.mean(inverse)


def hub_reference(queries, gallery, k=10):
    times = np.zeros(len(gallery))
    for query in queries:
        times[np.argsort(-(gallery @ query))[:k]] += 1
    mean = times.mean()
    return {
        "hubness_skew": np.mean((times - mean) ** 3) / np.std(times) ** 3,
        "hubness_robin_hood": np.abs(times - mean).sum() / 2 / times.sum(),
        "hubness_antihub_share": np.mean(times == 0),
        "hubness_max": times.max(),
    }


def overlap_reference(x, y, k=10):
    def near(rows):
        scores = rows @ rows.T
        np.fill_diagonal(scores, -np.inf)
        return [set(row[:k]) for row in np.argsort(-scores, axis=1).tolist()]

    return np.mean([len(a & b) / k for a, b in zip(near(x), near(y), strict=True)])


@pytest.mark.parametrize("cells", [1 << 22, 150])
def test_equals_the_formulas(cells, monkeypatch):
    for module in (uniformity, similarity, intrinsic_dimension):
        monkeypatch.setattr(module, "_CELLS", cells)
    monkeypatch.setattr(similarity, "_ROWS", 5)
    one = features(43, WIDTH, 0)
    other = F.normalize(one + 0.7 * features(43, WIDTH, 1, shift=0.3), dim=-1)
    found = geometry.geometry_metrics(one, other)
    x, y = np.float64(one.numpy()), np.float64(other.numpy())
    expected = gap_reference(x, y) | {"mutual_knn_overlap": overlap_reference(x, y)}
    for prefix, rows, hubs in (("image", x, (y, x)), ("text", y, (x, y))):
        values = shape_reference(rows) | hub_reference(*hubs)
        expected |= {f"{prefix}_{name}": value for name, value in values.items()}
    for name, value in expected.items():
        # cosines are of unit rows: those of float32 are so to 1e-7
        assert found[name] == pytest.approx(value, abs=1e-6), name
    assert set(found) == {*expected, "linear_separability"}


def test_uniformity_is_that_of_scipy_distances():
    rows = features(60, WIDTH, 3).double()
    found = uniformity.uniformity(rows, rows.new_ones(1, 60))
    assert float(found) == pytest.approx(np.log(np.exp(-2 * pdist(rows.numpy()) ** 2).mean()))


def test_weights_are_copies_that_never_meet():
    """A pair of weight 3 stands there three times, and is no neighbour of its copies."""
    x, y = features(6, 3, 0).double(), features(6, 3, 1, shift=0.5).double()
    drawn = np.array([3, 0, 1, 1, 0, 1])
    weights = torch.tensor(np.stack([drawn, np.ones(6)]), dtype=torch.float64)
    found = gap_statistics(x, y, weights) | uniformity.uniformity_statistics(x, y, weights)
    rows = np.repeat(np.arange(6), drawn)
    strangers = [(i, j) for i, j in product(rows, rows) if i != j]
    x, y = x.numpy(), y.numpy()

    def over(one, other, value):
        return np.mean([value(one[i], other[j]) for i, j in strangers])

    def close(a, b):
        return math.exp(-2 * ((a - b) ** 2).sum())

    paired = np.mean([half_distance(x[i], y[i]) for i in rows])
    within = (over(x, x, half_distance) + over(y, y, half_distance)) / 2
    center = x[rows].mean(0) - y[rows].mean(0)
    expected = {
        "rmg": paired / (paired + within),
        "negative_cosine": over(x, y, np.dot),
        "positive_cosine": np.mean([x[i] @ y[i] for i in rows]),
        "alignment": np.mean([((x[i] - y[i]) ** 2).sum() for i in rows]),
        "centroid_distance": math.sqrt(center @ center),
        "image_uniformity": math.log(over(x, x, close)),
        "text_uniformity": math.log(over(y, y, close)),
        "cross_uniformity": math.log(over(x, y, close)),
    }
    for name, value in expected.items():
        assert found[name][0].item() == pytest.approx(value, abs=1e-7), name


def test_known_values():
    """Orthonormal pairs give -4, as exp(-2 * 2) is the mean; and they fill all directions."""
    found = geometry.geometry_metrics(torch.eye(6), torch.eye(6))
    for name in ("uniformity", "cross_uniformity", "image_uniformity"):
        assert found[name] == pytest.approx(-4.0)
    assert found["image_effective_rank"] == pytest.approx(6.0)
    assert found["image_centered_effective_rank"] == pytest.approx(5.0)
    assert found["image_participation_ratio"] == pytest.approx(5.0)
    assert found["image_k95"] == 5.0
    assert found["rmg"] == found["centered_rmg"] == found["alignment"] == 0.0
    assert found["pair_auroc"] == 1.0
    assert math.isnan(found["d_prime"])  # the cosines of pairs are all 1, of strangers all 0
    assert math.isnan(found["image_twonn"])  # all equally far apart
    opposite = geometry.geometry_metrics(torch.eye(6), -torch.eye(6))
    assert opposite["alignment"] == 4.0
    assert opposite["pair_auroc"] == 0.0
    assert opposite["rmg"] == pytest.approx(1 / 1.5)
    assert effective_rank(singular_values(torch.eye(3).repeat(2, 2))) == pytest.approx(3.0)
    assert components_for_variance(torch.ones(20)) == 19.0


@pytest.mark.parametrize("n", [2, 3, 40])
def test_a_constant_model(n):
    """Chance, zero, or not defined: nothing that looks like an achievement."""
    one = F.normalize(torch.rand(1, 8, generator=torch.Generator().manual_seed(2)), dim=-1)
    found = geometry.geometry_metrics(one.expand(n, -1), one.expand(n, -1))
    zero = ["centroid_distance", "alignment", "centered_alignment", "cosine_margin"]
    zero += ["uniformity", "cross_uniformity", "image_uniformity", "text_uniformity"]
    for name in zero:
        assert found[name] == pytest.approx(0.0, abs=1e-7), name
    one_each = ["centroid_cosine", "positive_cosine", "negative_cosine", "image_effective_rank"]
    for name in one_each:
        assert found[name] == pytest.approx(1.0), name
    assert found["linear_separability"] == found["pair_auroc"] == 0.5
    undefined = ["rmg", "centered_rmg", "d_prime", "text_hubness_skew"]
    shapes = ["centered_effective_rank", "participation_ratio", "k95", "twonn", "mle"]
    for name in undefined + [f"image_{name}" for name in shapes]:
        assert math.isnan(found[name]), name
    if n == 40:
        assert found["mutual_knn_overlap"] == pytest.approx(10 / 39)
        assert found["text_hubness_max"] == pytest.approx(10.0)
        assert found["text_hubness_robin_hood"] == found["text_hubness_antihub_share"] == 0.0
    else:
        assert math.isnan(found["mutual_knn_overlap"])
        assert math.isnan(found["text_hubness_max"])


def test_one_constant_modality():
    x, y = features(30, 4, 0), features(1, 4, 1).expand(30, -1)
    found = geometry.geometry_metrics(x, y)
    assert math.isnan(found["centered_rmg"])
    assert found["pair_auroc"] == 0.5
    assert found["d_prime"] == pytest.approx(0.0, abs=1e-6)
    assert found["image_hubness_max"] == 30.0  # the same ten pictures are nearest to every text
    assert found["image_hubness_antihub_share"] == pytest.approx(20 / 30)
    assert found["text_hubness_max"] == pytest.approx(10.0)


def test_membership_is_the_mean_over_all_ways_to_break_ties():
    scores = [[2.0, 1.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0, 5.0]]
    for k in (1, 2, 3):
        found = hubness.membership(torch.tensor(scores), k)
        for row, values in zip(scores, found.tolist(), strict=True):
            orders = list(permutations(range(5)))
            best = [sorted(order, key=lambda j, row=row: -row[j])[:k] for order in orders]
            expected = [np.mean([j in chosen for chosen in best]) for j in range(5)]
            assert values == pytest.approx(expected)


def test_unrelated_features_are_at_chance():
    found = geometry.geometry_metrics(features(600, 16, 0), features(600, 16, 1))
    for name, value in chance.geometry(600).items():
        margin = 0.08 if name == "linear_separability" else 0.03
        assert found[name] == pytest.approx(value, abs=margin), name
    assert set(chance.geometry(11)) == {"linear_separability", "pair_auroc"}


def test_a_hub_is_found():
    """One text is everybody's nearest; the others are nobody's."""
    gallery = torch.eye(12)
    queries = F.normalize(torch.eye(12)[:1] + 0.1 * features(50, 12, 0), dim=-1)
    found = hubness.hubness(queries, gallery, k=1)
    assert found["max"] == 50.0
    assert found["antihub_share"] == pytest.approx(11 / 12)
    assert found["robin_hood"] == pytest.approx(11 / 12)
    assert found["skew"] == pytest.approx(stats.skew([50.0] + [0.0] * 11))


@pytest.mark.parametrize("dimension", [2, 5])
def test_intrinsic_dimension_of_a_cube(dimension):
    generator = torch.Generator().manual_seed(0)
    cube = torch.rand(2000, dimension, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(30, dimension, generator=generator, dtype=torch.float64)).Q
    found = intrinsic_dimension.dimensions(cube @ turn.T)
    assert found["twonn"] == pytest.approx(dimension, rel=0.12)
    assert found["mle"] == pytest.approx(dimension, rel=0.12)
    copies = intrinsic_dimension.dimensions(torch.cat([cube, cube[:500]]) @ turn.T)
    assert copies == pytest.approx(found)


def test_few_rows_have_no_dimension():
    assert math.isnan(intrinsic_dimension.dimensions(torch.eye(2))["twonn"])
    rows = features(21, 3, 0)
    assert math.isnan(intrinsic_dimension.dimensions(rows[:20])["mle"])
    assert not math.isnan(intrinsic_dimension.dimensions(rows)["mle"])


def test_constant_model_is_not_separable():
    """Chance is 0.5: what lies on the boundary counts half."""
    one = F.normalize(torch.ones(20, 8), dim=-1)
    assert separability.linear_separability(one, one) == 0.5
    mixed = separability.linear_separability(features(2000, 8, 0), features(2000, 8, 1))
    assert mixed == pytest.approx(0.5, abs=0.06)


def test_what_lies_apart_is_separable():
    one, other = features(50, 8, 0, 3.0), features(50, 8, 1, -3.0)
    assert separability.linear_separability(one, other) == 1.0
    one, other = features(60, 8, 0, 0.2), features(60, 8, 1)
    found = [separability.linear_separability(one, other, seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1]


def test_separability_is_the_optimum_of_the_penalised_regression():
    x, y = features(40, 3, 0, 0.2).double().numpy(), features(40, 3, 1).double().numpy()
    weights, bias = separability._fit(x, y)
    rows, sign = np.concatenate([x, y]), np.repeat([1.0, -1.0], 40)
    slope = -sign / (1 + np.exp(sign * (rows @ weights + bias)))
    assert np.abs(rows.T @ slope + weights).max() < 1e-3
    assert abs(slope.sum()) < 1e-3


def test_intervals_hold_the_values_and_shrink():
    x, y = features(400, 6, 0), features(400, 6, 1, shift=0.4)
    values = geometry.geometry_metrics(x, y)
    found = geometry.geometry_intervals(x, y, seed=3)
    assert found == geometry.geometry_intervals(x, y, seed=3)
    assert set(found) < set(values)
    few = geometry.geometry_intervals(x[:40], y[:40], seed=3)
    for name, interval in found.items():
        low, high = interval
        assert low <= values[name] <= high, name
        assert high - low < few[name][1] - few[name][0], name


def test_intervals_are_as_wide_as_the_spread_of_fresh_samples():
    def sample(seed):
        one = features(100, 4, 2 * seed, shift=0.5)
        return one, F.normalize(one + 0.8 * features(100, 4, 2 * seed + 1), dim=-1)

    ones = torch.ones(1, 100, dtype=torch.float64)
    drawn = []
    for seed in range(300):
        x, y = (rows.double() for rows in sample(seed))
        drawn.append(gap_statistics(x, y, ones) | uniformity.uniformity_statistics(x, y, ones))
    intervals = [geometry.geometry_intervals(*sample(seed)) for seed in range(5)]
    for name in ("alignment", "rmg", "image_uniformity", "cross_uniformity", "positive_cosine"):
        expected = 2 * 1.96 * np.std([float(values[name]) for values in drawn])
        width = np.mean([found[name][1] - found[name][0] for found in intervals])
        assert width == pytest.approx(expected, rel=0.25), name


def test_intervals_of_a_constant_model_and_of_two_pairs():
    one = F.normalize(torch.ones(30, 8), dim=-1)
    found = geometry.geometry_intervals(one, one)
    assert found["rmg"] is None
    assert found["uniformity"] == pytest.approx((0.0, 0.0), abs=1e-7)
    pair = geometry.geometry_intervals(torch.eye(2), torch.eye(2).flip(0))
    assert pair["uniformity"] is None  # half of the resamples are copies of one pair
    assert pair["alignment"] == pytest.approx((2.0, 2.0))


@pytest.mark.parametrize("measure", [geometry.geometry_metrics, geometry.geometry_intervals])
def test_refuses_what_are_no_pairs(measure):
    with pytest.raises(ValueError, match=r"two or more pairs, got \(1, 4\)"):
        measure(torch.eye(4)[:1], torch.eye(4)[:1])
    with pytest.raises(ValueError, match="image: NaN"):
        measure(torch.full((3, 2), torch.nan), torch.ones(3, 2))
    with pytest.raises(ValueError, match="text: a feature of length zero"):
        measure(torch.ones(3, 2), torch.zeros(3, 2))
