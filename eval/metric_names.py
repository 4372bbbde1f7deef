"""How metrics are written for people: which come first, in what form, which way is better."""

from collections.abc import Mapping
from typing import Any

from eval.records import checkpoint_name, title_of

HEADLINES = (
    "acc1",
    "acc5",
    "mean_per_class_recall",
    "mean_average_precision",
    "image_retrieval_recall@1",
    "image_retrieval_recall@5",
    "image_retrieval_recall@10",
    "text_retrieval_recall@1",
    "text_retrieval_recall@5",
    "text_retrieval_recall@10",
    "count_acc",
    "count_mad",
    "acc",
    "pair_acc",
    "text_acc",
    "image_acc",
    "macro_acc",
    "kendall_tau",
    "bleu4",
    "rouge_l",
    "cider",
    "ece",
    "nll",
    "brier",
    "centroid_distance",
    "rmg",
    "linear_separability",
    "uniformity",
    "cross_uniformity",
    "alignment",
    "image_effective_rank",
    "text_effective_rank",
    "pair_auroc",
    "mutual_knn_overlap",
)
# headlines of which the data decide how many there are
_FAMILIES = ("acc_", "acc1_", "lp_", "gap_", "shifted_", "auroc_", "fpr95_")
NONE = "–"  # what there is not
_LINES = 11  # metrics in a summary
# by the end of the name; every other metric is a share
_FORMATS = {
    "effective_rank": ",.1f",
    "_rank": ",.2f",
    "rsum": ",.2f",
    "count_mad": ".2f",
    "mrr": ".3f",
    "words": ",.1f",
    **dict.fromkeys(("participation_ratio", "_twonn", "_mle"), ",.1f"),
    **dict.fromkeys(("_k95", "hubness_max"), ",.0f"),
    **dict.fromkeys(("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider"), ".3f"),
    **dict.fromkeys(("centroid_distance", "_cosine", "uniformity", "alignment", "rmg"), ".3f"),
    **dict.fromkeys(("margin", "d_prime", "_skew", "kendall_tau", "clip_score"), ".3f"),
    **dict.fromkeys(("nll", "brier", "temperature", "logit_scale"), ".3f"),
}
# by the beginning or the end of the name: of these less is better ...
_LESS_FIRST = ("gap_", "fpr95_")
_LESS_LAST = (
    "median_rank",
    "mean_rank",
    "count_mad",
    "ece",
    "nll",
    "brier",
    "hubness_skew",
    "robin_hood",
    "antihub_share",
    "hubness_max",
)
# ... and of those that tell how embeddings lie, neither
_NEITHER_LAST = (
    "centroid_distance",
    "centroid_cosine",
    "rmg",
    "linear_separability",
    "uniformity",
    "alignment",
    "effective_rank",
    "participation_ratio",
    "_k95",
    "_twonn",
    "_mle",
    "_cosine",
    "mean_confidence",
    "temperature",
    "logit_scale",
)
_LABELS = {
    "image_retrieval_": "text → image ",
    "text_retrieval_": "image → text ",
    "recall@": "R@",
    "count_acc": "count accuracy",
    "count_mad": "mean deviation of the count",
    "bleu": "BLEU-",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr",
    "auroc": "AUROC",
    "fpr95": "FPR95",
    "kendall_tau": "Kendall's tau",
    "_twonn": " intrinsic dimension (TwoNN)",
    "_mle": " intrinsic dimension (MLE)",
    "_k95": " components for 95 % of the variance",
    "_": " ",
}
_WHOLE_LABELS = {
    "acc1": "accuracy",
    "acc5": "top-5 accuracy",
    "acc": "items solved",
    "pair_acc": "comparisons won",
    "text_acc": "right text chosen",
    "image_acc": "right picture chosen",
    "macro_acc": "items solved, mean over kinds",
    "ece": "calibration error (ECE)",
    "nll": "negative log-likelihood",
    "brier": "Brier score",
    "rmg": "relative modality gap",
}


def formatted(name: str, value: float) -> str:
    """A metric as people write it: shares in percent, the others as numbers."""
    return f"{value:{_form(name)}}"


def shown(name: str, value: float | None) -> str:
    """The same for a table, where a value may be missing."""
    return NONE if value is None else formatted(name, value)


def interval_text(record: Mapping[str, Any], name: str) -> str:
    """The 95 % interval of a metric."""
    bounds = record.get("ci95", {}).get(name)
    return " to ".join(formatted(name, bound) for bound in bounds) if bounds else NONE


def share(value: float) -> str:
    """A share in percent; what rounds to zero has no sign."""
    return f"{round(value, 3) + 0.0:.1%}"


def difference(name: str, value: float) -> str:
    """A difference of two values with its sign: of shares in percentage points."""
    form = _form(name)
    return f"{100 * value:+.2f}" if form.endswith("%") else f"{value:+{form}}"


def is_share(name: str) -> bool:
    """Whether a metric is a share of something, from 0 to 1."""
    return _form(name).endswith("%")


def direction(name: str) -> int:
    """1 where more is better, -1 where less is, 0 where neither is."""
    if name.startswith(_LESS_FIRST) or name.endswith(_LESS_LAST):
        return -1
    return 0 if name.endswith(_NEITHER_LAST) else 1


def above_chance(name: str, value: float | None, chance: float | None) -> float | None:
    """(value - chance) / (1 - chance): 0 for guessing and 1 for no error; None if that says
    nothing of the metric.
    """
    if value is None or chance is None or chance >= 1 or not is_share(name) or direction(name) < 1:
        return None
    return (value - chance) / (1 - chance)


def label(name: str) -> str:
    """A metric in words."""
    if name in _WHOLE_LABELS:
        return _WHOLE_LABELS[name]
    if name.startswith("acc_") and not name.startswith(("acc_worst_", "acc_top5_worst_")):
        name = f"items solved, {name.removeprefix('acc_')}"
    for old, new in _LABELS.items():
        name = name.replace(old, new)
    return name


def main_metric(record: Mapping[str, Any]) -> str | None:
    """The metric that stands for a result; None where it has none."""
    there = [name for name, value in record["metrics"].items() if value is not None]
    first = (record.get("main"), *HEADLINES, *there)
    return next((name for name in first if name in there), None)


def headline(metrics: Mapping[str, float | None]) -> str:
    """The headline metrics that there are, in one line."""
    found = ((name, metrics.get(name)) for name in HEADLINES)
    return ", ".join(f"{name} {formatted(name, v)}" for name, v in found if v is not None)


def summary(record: Mapping[str, Any], note: str = "") -> str:
    """A few lines for the terminal: the main metric, the other headlines, the counts.

    Args:
        record: a result.
        note: what else to say of it, in the first line.
    """
    metrics = {name: v for name, v in record["metrics"].items() if v is not None}
    lines = [f"{title_of(record)}  ({checkpoint_name(record)}){note and f', {note}'}"]
    families = (name for name in metrics if name.startswith(_FAMILIES))
    names = [name for name in (main_metric(record), *HEADLINES, *families) if name in metrics]
    names = list(dict.fromkeys(names))
    for name in names[:_LINES]:
        interval = record.get("ci95", {}).get(name)
        low, high = (formatted(name, bound) for bound in interval) if interval else ("", "")
        spread = f"  [{low:>7}, {high:>7}]" if interval else ""
        chance = record.get("chance", {}).get(name)
        guess = "" if chance is None else f"  chance {formatted(name, chance)}"
        lines.append(f"  {name:28} {formatted(name, metrics[name]):>7}{spread}{guess}")
    if len(metrics) > len(names[:_LINES]):
        lines.append(f"  and {len(metrics) - len(names[:_LINES])} more metrics")
    known = {name.replace("_", " "): n for name, n in record["n"].items() if n is not None}
    counts = ", ".join(f"{name} {n:,}" for name, n in known.items())
    return "\n".join([*lines, f"  n: {counts}"])


def _form(name: str) -> str:
    return next((form for end, form in _FORMATS.items() if name.endswith(end)), ".2%")
