"""Results on disk: one JSON a run, a growing `results.jsonl`, and the newest predictions.

The schema is flat enough for `clip_benchmark build` (dataset, model, pretrained, task, metrics and
language at the top) and never holds NaN: what is not defined is null.
"""

import hashlib
import json
import math
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from eval.datasets import EvalDataset
from eval.interface import Encodes, TaskResult
from vlp.data.files import encode, replace_atomically, write_json

SCHEMA = 1
JSONL = "results.jsonl"
_PACKAGES = ("torch", "open_clip_torch", "numpy", "scipy", "pillow")
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
_NEEDED = {"dataset", "task", "split", "metrics", "n", "checkpoint"}
_TABLES = ("metrics", "n", "checkpoint", "ci95", "protocol", "env", "chance")
_PROTOCOL = (
    "templates_sha",
    "classnames_sha",
    "normalize",
    "logit_scale",
    "precision",
    "image_size",
    "interp",
    "resize_mode",
    "context_length",
    "tie_rule",
)


def build_record(
    task: str,
    result: TaskResult,
    dataset: EvalDataset,
    encoder: Encodes,
    description: Mapping[str, Any],
) -> dict[str, Any]:
    """One result with everything that its number depends on.

    `description` may hold `step`, `samples_seen` and `path` of the checkpoint; what it does not
    hold comes from the encoder.
    """
    model = {**encoder.description, **description}
    protocol = dict.fromkeys(_PROTOCOL) | encoder.protocol | result.protocol
    protocol |= {"data": str(dataset.path.resolve()), "data_sha": dataset.fingerprint}
    checkpoint = {name: model.get(name) for name in ("path", "sha256", "step", "act")}
    record = {
        "schema": SCHEMA,
        "dataset": dataset.name,
        "task": task,
        "split": dataset.split,
        "model": str(model.get("model")),
        "pretrained": str(model.get("pretrained")),
        "language": "en",
        "metrics": result.metrics,
        "ci95": result.ci95,
        "chance": result.chance,
        "n": result.counts,
        "protocol": protocol,
        "checkpoint": {**checkpoint, "samples_seen": model.get("samples_seen")},
        "env": versions(),
        "seconds": {"load": model.get("load_seconds"), **result.seconds},
    }
    clean: dict[str, Any] = _without_nan(record)
    return clean


def versions() -> dict[str, str]:
    """Versions of what computes the numbers."""
    found = {name: version(name) for name in _PACKAGES}
    return {"vlp": version("vlp"), "python": platform.python_version(), **found}


def write(output: Path, record: Mapping[str, Any], result: TaskResult, encoder: Encodes) -> None:
    """Add a result to a folder.

    The predictions of an earlier evaluation of the same task are replaced.
    """
    task = record["task"]
    protocol = record["protocol"]
    place = {name: np.array(protocol[name] or 0) for name in ("data", "data_sha", "limit")}
    arrays = {**result.predictions, **place, "split": np.array(record["split"] or "")}

    def write_arrays(path: Path) -> None:
        with open(path, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    replace_atomically(output / f"predictions-{task}.npz", write_arrays)
    write_json(output / f"{_file_name(record, encoder)}.json", record)
    _append(output / JSONL, json.dumps(record, allow_nan=False, ensure_ascii=False))


def read(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """The results of a folder in the order they were written, and the number of lines that are
    none: a line is torn when the machine goes down while it is written.
    """
    path = folder / JSONL
    if not path.is_file():
        return [], 0
    records, torn = [], 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            torn += bool(line.strip())
            continue
        if _is_result(record):
            records.append(record)
        else:
            torn += 1
    return records, torn


def _is_result(record: object) -> bool:
    """Whether a line has what the report reads of it, in the types that it expects."""
    if not isinstance(record, dict) or not record.keys() >= _NEEDED:
        return False
    tables = {name: record.get(name, {}) for name in _TABLES}
    if not all(isinstance(table, dict) for table in tables.values()):
        return False
    values = (*tables["metrics"].values(), *tables["chance"].values())
    numbers = [*values, tables["checkpoint"].get("samples_seen")]
    bounds = [pair for pair in tables["ci95"].values() if pair is not None]
    n = tables["n"]
    return (
        all(isinstance(record[name], str) for name in ("dataset", "task"))
        and all(value is None or _is_number(value) for value in numbers)
        and all(isinstance(pair, list) and len(pair) == 2 for pair in bounds)
        and all(_is_number(value) for pair in bounds for value in pair)
        and _is_count(*([n["classes"]] if n.get("classes") else [n.get("images"), n.get("texts")]))
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_count(*values: object) -> bool:
    return all(isinstance(value, int) and value > 0 for value in values)


def _append(path: Path, line: str) -> None:
    with open(path, "a+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.write(b"\n")  # the last line was torn: it must not swallow this one
        file.write(encode(line) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _file_name(record: Mapping[str, Any], encoder: Encodes) -> str:
    """Different for every data set, task, checkpoint and protocol: no result overwrites another."""
    what = json.dumps([encoder.fingerprint, record["protocol"]], sort_keys=True)
    digest = hashlib.sha256(what.encode()).hexdigest()[:12]
    step = record["checkpoint"]["step"]
    which = f"step-{step:09d}_{digest}" if isinstance(step, int) else digest
    parts = (record["dataset"], record["split"], record["task"], which)
    return re.sub(r"[^\w.@+-]+", "-", "_".join(part for part in parts if part))


def _without_nan(value: Any) -> Any:  # noqa: ANN401 (any JSON value)
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


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
