"""Training-free adaptation of the zero-shot classifier with some labelled pictures a class.

GDA (A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation, ICLR 2024, arXiv 2402.04087),
Tip-Adapter without training (ECCV 2022, arXiv 2111.03930) and k-NN, beside zero-shot on the same
pictures. Settings are chosen on validation samples, never on those that are scored.
"""

import time

from torch import Tensor

from eval.datasets import EvalDataset
from eval.interface import Task, TaskInput, TaskResult
from eval.spec import EvalSpec
from eval.tasks import zeroshot_classification as zeroshot
from eval.training_splits import OPTIONS, Samples, further_splits, labelled_samples
from eval.zero_shot import build_zero_shot
from vlp.metrics.adaptation import (
    fit_gda,
    gda_logits,
    nearest_neighbours,
    search_gda,
    search_tip,
    tip_logits,
)
from vlp.metrics.classification import Classification, classify, classify_features
from vlp.metrics.outcomes import Outcome, mean_of

NAME = "few_shot"
_SHOTS = 16  # where none are given: the most that the papers take
_NEIGHBOURS = 20


def check(dataset: EvalDataset, spec: EvalSpec) -> None:
    """Raises ValueError or FileNotFoundError when the task cannot run on this data."""
    zeroshot.check(dataset, spec)
    further_splits(dataset, spec)


def run(given: TaskInput) -> TaskResult:
    """Adapt with the training split, score on this one."""
    samples = labelled_samples(given, shots=given.spec.shots or _SHOTS)
    classes = build_zero_shot(given)
    started = time.perf_counter()
    found, chosen = _adapt(samples, classes.weights)
    outcomes: dict[str, Outcome] = {
        f"acc1_{name}": mean_of(outcome.correct()) for name, outcome in found.items()
    }
    guess = 1 / samples.test.classes
    return TaskResult(
        metrics={name: outcome.value for name, outcome in outcomes.items()},
        outcomes=outcomes,
        counts={
            "images": len(given.dataset),
            **classes.counts,
            "ties": int(found["gda"].tied.sum()),
        },
        protocol={**samples.protocol, **classes.protocol, **chosen, "neighbours": _NEIGHBOURS},
        predictions={
            **zeroshot.predictions_of(given.dataset, found["gda"], classes.classnames),
            **{f"predicted_{name}": outcome.predicted for name, outcome in found.items()},
        },
        chance=dict.fromkeys(outcomes, guess),
        seconds={"text": classes.seconds, "metric": time.perf_counter() - started},
    )


def _adapt(
    samples: Samples, weights: Tensor
) -> tuple[dict[str, Classification], dict[str, float | int | None]]:
    """{method: outcome on the test samples}, and the settings that were chosen."""
    train, validation, test = samples.train, samples.validation, samples.test
    gda = fit_gda(train)
    alpha = search_gda(validation, weights, gda).best.alpha
    found = {
        "zeroshot": classify_features(test.features, weights, test.labels),
        "gda": classify(gda_logits(test.features, weights, gda, alpha=alpha), test.labels),
    }
    chosen: dict[str, float | int | None] = {"gda_alpha": alpha}
    tip = search_tip(validation, weights, train).best
    assert tip.beta is not None
    logits = tip_logits(test.features, weights, train, alpha=tip.alpha, beta=tip.beta)
    found["tip"] = classify(logits, test.labels)
    found["knn"] = nearest_neighbours(test, train, k=min(_NEIGHBOURS, len(train.labels)))
    chosen |= {"tip_alpha": tip.alpha, "tip_beta": tip.beta}
    return found, chosen


TASK = Task(
    name=NAME,
    main="acc1_gda",
    needs="labels, class names, and a training split",
    metrics="accuracy of zero-shot, GDA, Tip-Adapter and k-NN",
    source="Wang et al. 2024, arXiv 2402.04087; Zhang et al. 2022, arXiv 2111.03930",
    check=check,
    run=run,
    options=OPTIONS | zeroshot.OPTIONS,
    more=further_splits,
)
