"""Telling pictures of the classes from pictures of anything else, without training.

Scores: MSP, MaxLogit, Energy (with the model's inverse temperature), MCM, and CLIPN's CTW and ATD
where the model has a tower that says no. `auroc_SCORE` and `fpr95_SCORE` are means over the further
sets, `auroc_SCORE_SET` are those of one.
"""

import time

import numpy as np
import torch
from torch import Tensor

from eval.captions import digest
from eval.datasets import EvalDataset
from eval.datasets.others import open_others
from eval.interface import Array, Task, TaskInput, TaskResult
from eval.spec import EvalSpec
from eval.tasks import zeroshot_classification as zeroshot
from eval.zero_shot import ZeroShot, build_zero_shot, class_weights
from vlp.metrics import ood
from vlp.metrics.outcomes import Computed, Outcome
from vlp.metrics.similarity import similarity

NAME = "ood_detection"
TIE_RULE = "a pair of equal scores counts half in AUROC; a tie at the threshold counts as accepted"


def check(dataset: EvalDataset, spec: EvalSpec) -> None:
    """Raises ValueError or FileNotFoundError when the task cannot run on this data."""
    zeroshot.check(dataset, spec)
    if not spec.ood:
        raise ValueError(f"task {NAME} needs sets without the classes of the data: --ood DATA ...")
    more(dataset, spec)


def more(dataset: EvalDataset, spec: EvalSpec) -> dict[str, EvalDataset]:
    """The sets without the classes, by their names."""
    return open_others("ood", spec.ood, dataset, spec.limit)


def run(given: TaskInput) -> TaskResult:
    """Score the pictures of all sets."""
    classes = build_zero_shot(given)
    scale = ood.SCALE if given.scale is None else given.scale
    no_weights = _no_weights(given, classes)
    started = time.perf_counter()
    sets = {"": given.image, **{name: other.image for name, other in given.more.items()}}
    scored = [_scores(image, classes, no_weights, scale) for image in sets.values()]
    group = np.repeat(np.arange(len(sets)), [len(image) for image in sets.values()])  # 0 is inside
    joined = {name: np.concatenate([one[name] for one in scored]) for name in scored[0]}
    metrics: dict[str, float] = {}
    outcomes: dict[str, Outcome] = {}
    ties = 0
    for name, values in joined.items():
        outcomes |= _outcomes(name, values, group, list(sets))
        for place, other in enumerate(given.more, 1):
            found = ood.separation(scored[0][name], scored[place][name])
            metrics |= {f"{key}_{name}_{other}": value for key, value in found.metrics.items()}
            ties = max(ties, round(found.tied * len(scored[0][name]) * len(scored[place][name])))
    metrics = {**{name: own.value for name, own in outcomes.items()}, **metrics}
    return TaskResult(
        metrics=metrics,
        outcomes=outcomes,
        counts={
            "images": len(group),
            "images_inside": len(given.dataset),
            **classes.counts,
            "ties": ties,
        },
        protocol={
            **classes.protocol,
            "tie_rule": TIE_RULE,
            "ood_scale": "the model's" if given.scale is not None else ood.SCALE,
            "ood_sha": digest([other.dataset.fingerprint for other in given.more.values()]),
        },
        predictions={
            "key": np.array(given.dataset.keys),
            "group": group,
            "sets": np.array(list(sets)),
            **{f"ood_{name}": values for name, values in joined.items()},
        },
        chance={
            **{name: 0.5 for name in metrics if name.startswith("auroc")},
            **{name: 0.95 for name in metrics if name.startswith("fpr95")},
        },
        seconds={"text": classes.seconds, "metric": time.perf_counter() - started},
    )


def _outcomes(name: str, values: Array, group: Array, sets: list[str]) -> dict[str, Outcome]:
    """AUROC and FPR95 of a score: the mean over the sets, and of each."""
    place = np.unique(values, return_inverse=True)[1]  # the order is what counts
    found: dict[str, Outcome] = {}
    for statistic in ("auroc", "fpr95"):
        found[f"{statistic}_{name}"] = Computed(f"mean_{statistic}", (place, group))
        for k, other in enumerate(sets[1:], 1):
            own = (group == 0) | (group == k)
            columns = place[own], group[own]
            found[f"{statistic}_{name}_{other}"] = Computed(f"mean_{statistic}", columns)
    return found


def _scores(
    image: Tensor, classes: ZeroShot, no_weights: Tensor | None, scale: float
) -> dict[str, Array]:
    """{name of the score: [n]}"""
    cosine = similarity(image, classes.weights)  # [n, C]
    found = {
        "msp": ood.msp(cosine, scale=scale),
        "max_logit": ood.max_logit(cosine, scale=scale),
        "energy": ood.energy(cosine, scale=scale),
        "mcm": ood.mcm(cosine),
    }
    if no_weights is not None:
        against = similarity(image, no_weights)  # [n, C]
        yes = torch.sigmoid(scale * (cosine.double() - against.double()))
        p = (scale * cosine.double()).softmax(1)
        found |= {"ctw": ood.ctw(p, yes), "atd": ood.atd(p, yes)}
    return found


def _no_weights(given: TaskInput, classes: ZeroShot) -> Tensor | None:
    if given.encode_no_text is None:
        return None
    return class_weights(given.encode_no_text(classes.texts), classes.prompts)


TASK = Task(
    name=NAME,
    main="auroc_mcm",
    needs="labels and class names, and --ood sets without these classes",
    metrics="AUROC and FPR95 of MSP, MaxLogit, Energy, MCM (CTW, ATD with a 'no' tower)",
    source="Ming et al. 2022 (MCM), arXiv 2211.13445; Wang et al. 2023 (CLIPN), arXiv 2308.12213",
    check=check,
    run=run,
    options=frozenset({"classnames", "templates", "prompts", "language", "ood"}),
    more=more,
)
