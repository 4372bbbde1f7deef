"""How metrics are written for people: which come first, in what form, which way is better."""

from collections.abc import Mapping
from typing import Any

HEADLINES = (
    "acc1",
    "acc5",
    "mean_per_class_recall",
    "image_retrieval_recall@1",
    "image_retrieval_recall@5",
    "image_retrieval_recall@10",
    "text_retrieval_recall@1",
    "text_retrieval_recall@5",
    "text_retrieval_recall@10",
    "count_acc",
    "count_mad",
    "choice_acc",
    "choice_all_acc",
    "bleu4",
    "rouge_l",
    "cider",
    "centroid_distance",
    "linear_separability",
    "uniformity",
    "cross_uniformity",
    "alignment",
    "image_effective_rank",
    "text_effective_rank",
)
_FAMILIES = ("choice_acc_",)  # headlines of which the data decide how many there are
# by the end of the name; every other metric is a share
_FORMATS = {
    "effective_rank": ",.1f",
    "_rank": ",.2f",
    "rsum": ",.2f",
    "count_mad": ".2f",
    "mrr": ".3f",
    **dict.fromkeys(("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider"), ".3f"),
    **dict.fromkeys(("centroid_distance", "centroid_cosine", "uniformity", "alignment"), ".3f"),
}


def formatted(name: str, value: float) -> str:
    """A metric as people write it: shares in percent, the others as numbers."""
    form = next((form for end, form in _FORMATS.items() if name.endswith(end)), ".2%")
    return f"{value:{form}}"


def headline(metrics: Mapping[str, float | None]) -> str:
    """The headline metrics that there are, in one line."""
    found = ((name, metrics.get(name)) for name in HEADLINES)
    return ", ".join(f"{name} {formatted(name, v)}" for name, v in found if v is not None)


def summary(record: Mapping[str, Any]) -> str:
    """A few lines for the terminal: each headline metric with its interval, then the counts."""
    parts = (record["dataset"], record["split"], record["task"])
    lines = [" / ".join(str(part) for part in parts if part)]
    for name in (*HEADLINES, *(key for key in record["metrics"] if key.startswith(_FAMILIES))):
        if record["metrics"].get(name) is not None:
            interval = record.get("ci95", {}).get(name)
            low, high = (formatted(name, bound) for bound in interval) if interval else ("", "")
            spread = f"  [{low:>7}, {high:>7}]" if interval else ""
            lines.append(f"  {name:28} {formatted(name, record['metrics'][name]):>7}{spread}")
    counts = ", ".join(f"{k} {v}" for k, v in record["n"].items() if v is not None)
    return "\n".join([*lines, f"  n: {counts}"])
