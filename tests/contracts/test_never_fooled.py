"""Who knows nothing scores what guessing scores, in every task and every metric that says what that
is: a model that says the same of everything never more, one of random features exactly.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
from scipy import stats

from eval import predictions, results
from eval.datasets import open_dataset
from eval.features import Features
from eval.metric_names import direction
from eval.run import evaluate_task, prepare
from eval.spec import EvalSpec
from eval.tasks import TASKS
from tests.contracts.never_fooled import (
    DATA,
    Constant,
    ConstantPictures,
    ConstantTexts,
    Random,
)
from vlp.metrics import bootstrap

SEEDS = 12
LEVEL = 1e-4  # of a single comparison, of which there are some hundred
# tasks whose main metric has no chance level, and why
NO_CHANCE = {
    "captioning": "it compares sentences, and there is no guess of one",
    "geometry": "it says where features lie, and not what they are good for",
    "calibration": "a model that knows nothing and is unsure is calibrated",
}


@dataclass
class Case:
    """A task on one of its data sets."""

    prepared: object

    def run(self, model):
        return evaluate_task(Features(model, batch=64), self.prepared, {}, key="x")

    @cached_property
    def constant(self):
        """What a constant model finds, which says what guessing would."""
        return self.run(Constant())[1]

    @property
    def chance(self):
        return self.constant.chance

    def values(self, kind, seeds):
        """{metric: its values for models that are drawn anew}, of metrics that have a chance."""
        found = [self.run(kind(seed))[1].metrics for seed in range(seeds)]
        return {name: np.array([one[name] for one in found]) for name in self.chance}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 20)  # what is tested here are no intervals


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """The cases of a task, made when it is asked for."""
    made = {}

    def of(name):
        if name not in DATA:
            pytest.fail(
                f"task {name} has no data in tests/contracts/never_fooled.py: add a factory to "
                f"DATA that makes a small set for it ({TASKS[name].needs})"
            )
        if name not in made:
            sets = DATA[name](tmp_path_factory.mktemp(name))
            made[name] = [Case(_prepared(name, data, options)) for data, options in sets]
        return made[name]

    return of


def _prepared(name, data, options):
    spec = EvalSpec(task=name, data=str(data), **options)
    return prepare(open_dataset(data, spec.split), spec, name)


def far(values, chance):
    """How far the mean of some values is above chance, in limits of their t-test.

    The limit is no less than a twentieth of chance, as a few draws of a share may all be equal.
    """
    limit = stats.t.ppf(1 - LEVEL / 2, len(values) - 1) * values.std(ddof=1)
    return (values.mean() - chance) / max(1e-6, limit / math.sqrt(len(values)), abs(chance) / 20)


@pytest.mark.parametrize("name", TASKS)
def test_what_guessing_scores_is_said(name, cases):
    for case in cases(name):
        chance = case.chance
        metrics = case.constant.metrics
        assert set(chance) <= set(metrics)
        assert all(math.isfinite(value) for value in chance.values())
        assert (TASKS[name].main in chance) != (name in NO_CHANCE), (
            f"task {name}: its main metric {TASKS[name].main} needs a chance level, or a reason in "
            "NO_CHANCE why it has none, and not both"
        )


@pytest.mark.parametrize("name", TASKS)
def test_a_constant_model_is_never_better_than_guessing(name, cases):
    for case in cases(name):
        metrics = case.constant.metrics
        for metric, chance in case.chance.items():
            if direction(metric):
                assert direction(metric) * (metrics[metric] - chance) <= 1e-6, metric
            else:
                assert metrics[metric] == pytest.approx(chance), metric


@pytest.mark.parametrize("kind", [ConstantPictures, ConstantTexts])
@pytest.mark.parametrize("name", TASKS)
def test_half_a_constant_model_is_never_better_than_guessing(name, kind, cases):
    for case in cases(name):
        chance = case.chance
        for metric, values in case.values(kind, SEEDS // 2).items():
            assert direction(metric) * far(values, chance[metric]) <= 1, metric


@pytest.mark.parametrize("name", TASKS)
def test_a_model_of_random_features_scores_what_guessing_does(name, cases):
    for case in cases(name):
        chance = case.chance
        for metric, values in case.values(Random, SEEDS).items():
            assert abs(far(values, chance[metric])) <= 1, (metric, values.mean(), chance[metric])


@pytest.mark.parametrize("name", TASKS)
def test_a_result_holds_together(name, cases, tmp_path):
    """What every sample contributed gives the metric, and survives the disk with the record."""
    for case in cases(name):
        record, result = case.run(Random(0))
        assert TASKS[name].main in result.metrics
        assert set(record["ci95"]) <= set(result.metrics)
        assert not set(result.outcomes) & set(result.ci95)
        for metric, outcome in result.outcomes.items():
            assert outcome.value == pytest.approx(result.metrics[metric], abs=1e-9), metric
        for metric, bounds in record["ci95"].items():
            assert bounds is None or bounds[0] <= bounds[1], metric
        results.write(tmp_path, record, result, keep=True)
        read, torn = results.read(tmp_path)
        assert torn == 0
        saved = predictions.outcomes(predictions.read(tmp_path / read[-1]["predictions"]))
        assert {metric: outcome.value for metric, outcome in saved.items()} == pytest.approx(
            {metric: result.metrics[metric] for metric in result.outcomes}, abs=1e-9
        )
