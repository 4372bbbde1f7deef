"""Linear probe: logistic regression by L-BFGS on frozen features, C chosen on validation samples.

The regression of CLIP (Radford et al. 2021, appendix A.3) on the normalised, projected features of
CLIP_benchmark; its protocol as well: with all training samples the chosen C is fitted once more on
training and validation samples together, with few shots on the shots alone.
"""

import time

import numpy as np

from eval.datasets import EvalDataset
from eval.interface import Task, TaskInput, TaskResult
from eval.spec import EvalSpec
from eval.tasks.zeroshot_classification import outcomes_of, predictions_of
from eval.training_splits import OPTIONS, further_splits, labelled_samples
from vlp.metrics import chance
from vlp.metrics.classification import classify
from vlp.metrics.probe import fit_probe, sweep

NAME = "linear_probe"
TIE_RULE = "the true class must have the strictly highest logit"


def check(dataset: EvalDataset, spec: EvalSpec) -> None:
    """Raises ValueError or FileNotFoundError when the task cannot run on this data."""
    if dataset.labels is None:
        raise ValueError(
            f"task {NAME} needs labels, but data {dataset.path} ({dataset.layout}) holds "
            f"{dataset.holds}"
        )
    further_splits(dataset, spec)


def run(given: TaskInput) -> TaskResult:
    """Fit on the training split, score on this one."""
    samples = labelled_samples(given, shots=given.spec.shots)
    started = time.perf_counter()
    found = sweep(samples.train, samples.validation)
    probe = found.best
    if given.spec.shots is None:
        probe = fit_probe(samples.train_and_validation, probe.c, start=probe)
    outcome = classify(probe.logits(samples.test.features).float(), samples.test.labels)
    names = given.dataset.classnames or [str(label) for label in range(samples.test.classes)]
    guessed = chance.classification(samples.test.classes)
    return TaskResult(
        metrics={
            **{f"lp_{name}": value for name, value in outcome.metrics.items()},
            "lp_train_acc1": probe.accuracy(samples.train),
        },
        outcomes={f"lp_{name}": own for name, own in outcomes_of(outcome).items()},
        counts={
            "images": len(given.dataset),
            "texts": 0,
            "classes": samples.test.classes,
            "ties": int(outcome.tied.sum()),
            "not_converged": int(not probe.converged),
        },
        protocol={
            **samples.protocol,
            "tie_rule": TIE_RULE,
            "c": probe.c,
            "fitted_on": "train" if given.spec.shots else "train and validation",
        },
        predictions={
            **predictions_of(given.dataset, outcome, names),
            "sweep_c": np.array([trial.c for trial in found.trials]),
            "sweep_accuracy": np.array([trial.accuracy for trial in found.trials]),
        },
        chance={f"lp_{name}": value for name, value in guessed.items()},
        seconds={"metric": time.perf_counter() - started},
    )


TASK = Task(
    name=NAME,
    main="lp_acc1",
    needs="labels, and a training split",
    metrics="accuracy, top-5 accuracy, mean per-class recall of a linear classifier",
    source="Radford et al. 2021, arXiv 2103.00020, A.3; names of CLIP_benchmark",
    check=check,
    run=run,
    options=OPTIONS,
    more=further_splits,
)
