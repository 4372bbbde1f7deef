"""Every number of a folder as CSV: a row for each metric of each record."""

import csv
import io
from collections.abc import Iterable
from typing import Any

from eval.metric_names import above_chance, main_metric
from eval.records import samples_seen
from eval.report.reference import published
from eval.report.run_folder import chance_of
from eval.stored_results import Result

_COUNTS = ("images", "texts", "classes", "items", "ties", "skipped", "truncated_texts")


def as_csv(results: Iterable[Result]) -> str:
    """Every metric of every record, a row each."""
    rows = [row for result in results for row in _csv_rows(result.record)]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["metric"])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _csv_rows(record: dict[str, Any]) -> Iterable[dict[str, Any]]:
    known, main = published(record), main_metric(record)
    checkpoint, n = record["checkpoint"], record["n"]
    model, pretrained = str(record.get("model")), str(record.get("pretrained"))
    for name, value in record["metrics"].items():
        low, high = record.get("ci95", {}).get(name) or (None, None)
        guess = chance_of(record).get(name)
        yield {
            "model_fullname": f"{model} {pretrained}",
            "model": model,
            "pretrained": pretrained,
            "step": checkpoint.get("step"),
            "samples_seen": samples_seen(record),
            "sha256": checkpoint.get("sha256"),
            "dataset": record["dataset"],
            "split": record["split"],
            "task": record["task"],
            "language": record.get("language", "en"),
            "metric": name,
            "main": int(name == main),
            "value": value,
            "low": low,
            "high": high,
            "chance": guess,
            "above_chance": above_chance(name, value, guess),
            "published": known[name].value if name in known else None,
            "deviation": known[name].deviation if name in known else None,
            **{f"n_{count}": n.get(count) for count in _COUNTS},
        }
