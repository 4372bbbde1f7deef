import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from vlp.metrics import ood
from vlp.metrics.bootstrap import distribution_of_statistic
from vlp.metrics.multilabel import mean_average_precision
from vlp.metrics.outcomes import (
    ClassMean,
    Computed,
    Linear,
    MeanAveragePrecision,
    Median,
    Ratio,
    clustered,
    combined,
    compare,
    distribution,
    interval,
    is_binary,
    mean_of,
)

PLACE = {name: np.array(0) for name in ("data", "data_sha", "limit", "split", "key")}


def hits_of(share, n=400, seed=0):
    return np.random.default_rng(seed).random(n) < share


def every_kind(seed=0, n=60):
    """One outcome of each kind, of a model that is drawn by `seed` on the same samples."""
    data, model = np.random.default_rng(9), np.random.default_rng(seed)
    units = np.concatenate([np.arange(n), data.integers(0, n, n)])
    labels = data.integers(0, 4, n)
    hit = model.random(2 * n) < 0.6
    ratios = [mean_of(model.random(n) < 0.5), clustered(model.random(2 * n), units, n)]
    return {
        "hits": ratios[0],
        "means": ratios[1],
        "per_class": ClassMean(labels, hit[:n]),
        "median": Median(model.integers(1, 50, 2 * n), units),
        "sum": combined([0.5, 2.0], ratios),
        "map": MeanAveragePrecision(
            model.normal(size=(n, 2)).astype(np.float32), np.stack([labels == 0, labels > 1], 1)
        ),
        "auroc": Computed("mean_auroc", (model.random(n), labels % 2)),
        "of_units": Computed("mean_auroc", (model.random(2 * n), units % 2), units),
    }


def test_values_are_those_of_the_formulas():
    generator = np.random.default_rng(1)
    values, units = generator.random(30), generator.integers(0, 9, 30)
    assert mean_of(values).value == pytest.approx(values.mean())
    assert clustered(values, units, 12).value == pytest.approx(values.mean())  # 3 without any
    labels, correct = generator.integers(0, 5, 30) * 2, generator.random(30) < 0.5
    predicted = np.where(correct, labels, labels + 2)
    with np.errstate(all="ignore"):
        expected = np.mean([correct[labels == c].mean() for c in np.unique(labels)])
    assert ClassMean(labels, correct).value == pytest.approx(expected)
    there = np.isin(predicted, labels)
    assert ClassMean(labels[there], correct[there]).value == pytest.approx(
        balanced_accuracy_score(labels[there], predicted[there])
    )
    ranks = generator.integers(1, 9, 30)
    assert Median(ranks, units).value == np.median(ranks)
    parts = [mean_of(values), clustered(values**2, np.arange(30), 30)]
    total = 3 * values.mean() - 2 * (values**2).mean()
    assert combined([3.0, -2.0], parts).value == pytest.approx(total)
    scores, group = generator.random(30), generator.integers(0, 2, 30)
    assert Computed("mean_auroc", (scores, group)).value == pytest.approx(
        roc_auc_score(group == 0, scores)
    )


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_interval_of_a_share_is_the_normal_one(share):
    hits = hits_of(share, 3000)
    low, high = interval(mean_of(hits))
    half = 1.96 * math.sqrt(hits.mean() * (1 - hits.mean()) / len(hits))
    assert (low, high) == pytest.approx((hits.mean() - half, hits.mean() + half), abs=0.15 * half)


def test_interval_of_a_mean_per_class_and_of_a_sum_are_the_normal_ones():
    hits = hits_of(0.4, 2000)
    labels = np.repeat(np.arange(2), (1600, 400))
    parts = [hits[labels == c] for c in (0, 1)]
    half = 1.96 / 2 * math.sqrt(sum(p.mean() * (1 - p.mean()) / len(p) for p in parts))
    low, high = interval(ClassMean(labels, hits))
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    both = combined([1.0, 1.0], [mean_of(hits), mean_of(hits_of(0.7, 2000, seed=1))])
    per_unit = hits.astype(float) + hits_of(0.7, 2000, seed=1)
    low, high = interval(both)
    assert (high - low) / 2 == pytest.approx(1.96 * per_unit.std() / math.sqrt(2000), rel=0.1)


def test_captions_of_one_picture_are_one_unit():
    """Five captions of a picture that are all right or all wrong tell what one does."""
    hits = hits_of(0.5, 300)
    units = np.repeat(np.arange(300), 5)
    whole = clustered(np.repeat(hits, 5), units, 300)
    assert distribution(whole) == pytest.approx(distribution(mean_of(hits)))
    together = interval(whole)
    alone = interval(mean_of(np.repeat(hits, 5)))
    assert np.diff(together) / np.diff(alone) == pytest.approx(math.sqrt(5), rel=0.15)


def test_equal_units_and_seed_give_equal_resamples():
    x = np.random.default_rng(0).random(50)
    first, second = (distribution(mean_of(values), seed=7) for values in (x, 1 - 2 * x))
    assert second == pytest.approx(1 - 2 * first)
    assert not np.array_equal(first, distribution(mean_of(x), seed=8))
    for outcome in every_kind().values():
        assert np.array_equal(distribution(outcome, seed=3), distribution(outcome, seed=3))


def test_fewer_than_two_units_have_no_interval():
    one = mean_of(np.ones(1))
    lonely = (
        one,
        ClassMean(np.zeros(1, np.int64), np.ones(1, np.bool_)),
        Median(np.array([1, 2]), np.zeros(2, np.int64)),
        combined([1.0], [one]),
        Computed("mean_auroc", (np.ones(1), np.zeros(1, np.int64))),
        Computed("mean_auroc", (np.ones(5), np.zeros(5, np.int64))),  # not defined on any
        clustered(np.ones(3), np.zeros(3, np.int64), 9),  # the others have no value
    )
    for outcome in lonely:
        assert interval(outcome) is None
        found = compare(outcome, outcome)
        assert (found.interval, found.p, found.test) == (None, None, "none")


@pytest.mark.parametrize(("right", "n"), [(0, 9), (15, 15), (3, 15), (238, 245)])
def test_interval_of_right_and_wrong_samples_is_wilsons(right, n):
    z, p = stats.norm.ppf(0.975), right / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    hits = np.arange(n) < right
    assert interval(mean_of(hits)) == pytest.approx((middle - half, middle + half), abs=1e-9)
    # samples of another kind, of which there is no observation
    among = clustered(hits, 3 * np.arange(n), 3 * n)
    assert interval(among) == interval(mean_of(hits))
    assert is_binary(among)
    # a quantity that happens to be 0 or 1, such as a loss or a rank, may have other values
    if right in (0, n):
        assert interval(mean_of(hits.astype(float))) == (p, p)


def test_mcnemar_also_of_a_part_of_the_samples():
    one, other = (hits_of(share, 40, seed) for seed, share in enumerate((0.5, 0.8)))
    units = 2 * np.arange(40)
    found = compare(clustered(one, units, 80), clustered(other, units, 80))
    assert found.test == "McNemar exact"
    assert found.p == compare(mean_of(one), mean_of(other)).p


@pytest.mark.parametrize("statistic", ["worst_group", "ece"])
def test_intervals_of_biased_statistics_cover_the_truth(statistic):
    """The percentiles of the resamples cover it in one of twenty cases: they have the bias twice.

    Ten groups with an accuracy of 0.7; confidences that are 0.03 too high.
    """
    generator = np.random.default_rng(0)
    covered, percentiles = [], []
    for _ in range(40):
        if statistic == "worst_group":
            truth, columns = 0.7, (generator.random(500) < 0.7, np.arange(500) % 10)
        else:
            confidence = generator.uniform(0.25, 0.95, 500)
            truth, columns = 0.03, (confidence, generator.random(500) < confidence - 0.03)
        outcome = Computed(statistic, columns)
        drawn = 2 * outcome.value - distribution(outcome)  # where it is not cut off
        low, high = interval(outcome)
        assert 0 <= low <= outcome.value <= high <= 1
        covered.append(low <= truth <= high)
        low, high = np.percentile(drawn, (2.5, 97.5))
        percentiles.append(low <= truth <= high)
    assert np.mean(covered) > 0.75
    assert np.mean(percentiles) < 0.25


@settings(max_examples=30, deadline=None)
@given(
    arrays(np.float32, (9, 2), elements=st.integers(0, 3).map(float)),
    arrays(np.bool_, (9, 2)),
)
def test_resamples_of_the_mean_average_precision_are_those_of_the_rows(scores, labels):
    found = distribution(MeanAveragePrecision(scores, labels), seed=2)
    assert found == pytest.approx(
        distribution_of_statistic(mean_average_precision, (scores, labels), seed=2)
    )


@given(st.lists(st.tuples(st.integers(-2, 3), st.integers(0, 3)), min_size=1, max_size=20))
def test_places_in_the_order_of_scores_are_as_good_as_scores(samples):
    scores, group = (np.array(column) for column in zip(*samples, strict=True))
    place = np.unique(scores, return_inverse=True)[1]
    inside, others = scores[group == 0] * 0.5, [scores[group == k] * 0.5 for k in (1, 2, 3)]
    others = [own for own in others if len(own)]
    for name, measure in (("mean_auroc", ood.auroc), ("mean_fpr95", ood.fpr95)):
        found = [Computed(name, (own, group)).value for own in (scores * 0.5, place)]
        if len(inside) and others:
            assert found == [pytest.approx(np.mean([measure(inside, o) for o in others]))] * 2
        else:
            assert np.isnan(found).all()


def test_mcnemar_is_the_binomial_test_on_what_differs():
    one, other = hits_of(0.6, 200), hits_of(0.5, 200, seed=1)
    found = compare(mean_of(one), mean_of(other))
    won, lost = int((one & ~other).sum()), int((~one & other).sum())
    assert found.test == "McNemar exact"
    assert found.p == pytest.approx(stats.binomtest(won, won + lost, 0.5).pvalue)
    tail = sum(math.comb(won + lost, k) for k in range(min(won, lost) + 1)) / 2 ** (won + lost)
    assert found.p == pytest.approx(min(1.0, 2 * tail))
    assert found.value == pytest.approx(one.mean() - other.mean())
    assert compare(mean_of(one), mean_of(one)).p == 1.0


def test_what_is_binary():
    assert is_binary(mean_of(np.array([True, False])))
    assert is_binary(clustered(np.array([1, 0]), np.array([1, 0]), 2))
    for outcome in (
        mean_of(np.array([0.5, 1.0])),
        clustered(np.array([1, 0]), np.array([0, 0]), 1),
        combined([1.0], [mean_of(np.array([1.0, 0.0]))]),
    ):
        assert not is_binary(outcome)


def test_the_difference_of_paired_models_is_far_narrower_than_two_intervals():
    """Models that agree on 97 % of the samples, against the normal approximation of the pairs."""
    one = hits_of(0.6, 2000)
    other = np.where(hits_of(0.03, 2000, seed=5), ~one, one)
    found = compare(mean_of(one), mean_of(other))
    half = np.diff(found.interval)[0] / 2
    expected = 1.96 * (one.astype(float) - other).std() / math.sqrt(2000)
    assert half == pytest.approx(expected, rel=0.1)
    alone = [np.diff(interval(mean_of(hits)))[0] / 2 for hits in (one, other)]
    assert math.hypot(*alone) > 3 * half


@pytest.mark.parametrize("kind", every_kind())
def test_a_model_does_not_differ_from_itself(kind):
    found = compare(every_kind()[kind], every_kind()[kind])
    assert (found.value, found.interval, found.p) == (0.0, (0.0, 0.0), 1.0)


@pytest.mark.parametrize("kind", every_kind())
def test_the_other_way_round_is_the_negative(kind):
    one, other = every_kind(1)[kind], every_kind(2)[kind]
    there, back = compare(one, other), compare(other, one)
    assert there.value == pytest.approx(-back.value)
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    assert there.p == pytest.approx(back.p)
    assert there.interval[0] <= there.value <= there.interval[1]
    assert 0 < there.p <= 1


def test_p_of_the_bootstrap_is_uniform_where_nothing_differs():
    """Pairs of models with the same distribution: about 5 % of the p-values are below 0.05."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(300):
        shared = generator.normal(size=60)
        one, other = (mean_of(shared + generator.normal(size=60)) for _ in range(2))
        result = compare(one, other)
        assert result.test == "bootstrap"
        found.append(result.p)
    below = [np.mean(np.array(found) < level) for level in (0.05, 0.25, 0.5, 0.75)]
    assert below == pytest.approx([0.05, 0.25, 0.5, 0.75], abs=0.09)
    assert below[0] > 0


def test_p_of_the_bootstrap_is_never_zero_and_small_where_all_differs():
    x = np.random.default_rng(0).random(50)
    found = compare(mean_of(x + 1), mean_of(x))
    assert found.p == pytest.approx(2 / 1001)
    assert found.interval == (pytest.approx(1.0), pytest.approx(1.0))


def test_units_that_one_model_alone_has_observations_of_stay_paired():
    """Precision: the denominators are the model's own, and units without any differ."""
    hit = hits_of(0.5, 300)
    said = hits_of(0.7, 300, seed=1)
    one = Ratio((hit & said).astype(float), said.astype(float))
    other = Ratio(hit.astype(float), np.ones(300))
    found = compare(one, other)
    rows = np.random.default_rng(0).integers(0, 300, (1000, 300))
    drawn = [hit[r][said[r]].mean() - hit[r].mean() for r in rows]
    assert found.interval == pytest.approx(tuple(np.percentile(drawn, (2.5, 97.5))))
    assert found.value == pytest.approx(hit[said].mean() - hit.mean())


def test_resamples_on_which_a_statistic_is_not_defined_count_for_nobody():
    """One sample of the second set, which 37 % of the resamples miss."""
    group = np.array([0] * 19 + [1])
    scores = np.linspace(1, 0, 20)
    better, worse = (Computed("mean_auroc", (s, group)) for s in (scores, scores[::-1]))
    found = compare(better, worse)
    assert found.value == 1.0
    assert found.interval[1] == 1.0
    defined = np.isfinite(distribution(better)).sum()
    assert 550 < defined < 720
    assert found.p == pytest.approx(2 / (1 + defined))


def test_what_is_not_paired_is_refused():
    kinds = every_kind()
    labels, units = kinds["per_class"].labels, kinds["median"].units
    refused = [
        (kinds["hits"], mean_of(np.ones(61)), r"Ratio of \(60,\) and Ratio of \(61,\) units"),
        (kinds["hits"], kinds["per_class"], "Ratio of .* and ClassMean"),
        (kinds["per_class"], ClassMean(labels[::-1], np.ones(60, np.bool_)), "of other labels"),
        (kinds["median"], Median(kinds["median"].values, 59 - units), "of other units"),
        (
            kinds["sum"],
            combined([1.0, 1.0], [kinds["hits"], kinds["means"]]),
            "Linear of other weights",
        ),
        (kinds["sum"], combined([1.0], [kinds["hits"]]), r"\(2, 60\) and Linear of \(1, 60\)"),
        (
            kinds["auroc"],
            Computed("mean_fpr95", kinds["auroc"].columns),
            "Computed of other statistic",
        ),
        (
            kinds["of_units"],
            Computed("mean_auroc", kinds["of_units"].columns, 59 - units),
            "Computed of other units",
        ),
        (
            kinds["of_units"],
            Computed("mean_auroc", kinds["of_units"].columns),
            "Computed of other units",
        ),
    ]
    for one, other, message in refused:
        with pytest.raises(ValueError, match=f"not paired: .*{message}"):
            compare(one, other)


HITS = arrays(np.bool_, st.integers(2, 30))


@settings(max_examples=40, deadline=None)
@given(HITS, st.integers(0, 9))
def test_a_share_and_its_interval_are_shares(hits, seed):
    outcome = mean_of(hits)
    low, high = interval(outcome, seed=seed)
    assert 0 <= low <= high <= 1
    assert outcome.value == pytest.approx(hits.mean())
    assert low <= outcome.value <= high
    assert low < high


@settings(max_examples=40, deadline=None)
@given(HITS, st.data())
def test_pairs_of_shares(hits, data):
    other = data.draw(arrays(np.bool_, len(hits)))
    found = compare(mean_of(hits), mean_of(other))
    assert -1 <= found.interval[0] <= found.interval[1] <= 1
    won, lost = int((hits & ~other).sum()), int((~hits & other).sum())
    assert found.value == pytest.approx((won - lost) / len(hits))
    assert found.p == 1.0 if abs(won - lost) < 2 else found.p < 1.0
    order = data.draw(st.permutations(range(len(hits))))
    shuffled = compare(mean_of(hits[order]), mean_of(other[order]))
    assert shuffled.p == pytest.approx(found.p)
    assert shuffled.value == pytest.approx(found.value)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.floats(-5, 5)), min_size=1, max_size=30))
def test_clusters_change_no_mean(pairs):
    units, values = np.array([u for u, _ in pairs]), np.array([v for _, v in pairs])
    outcome = clustered(values, units, 8)
    assert outcome.value == pytest.approx(values.mean(), abs=1e-9)
    sums = Linear(np.ones(1), outcome.sums[None], outcome.counts[None])
    assert sums.value == pytest.approx(outcome.value, abs=1e-9)
    assert interval(sums) == interval(outcome)
