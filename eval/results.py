"""Results on disk: one JSON a result, a growing `results.jsonl`, and predictions for each sample.

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

from eval import predictions
from eval.datasets import EvalDataset
from eval.interface import Encodes, TaskResult
from vlp.data.files import encode, write_json
from vlp.metrics.bootstrap import Interval
from vlp.metrics.outcomes import interval

SCHEMA = 1
JSONL = "results.jsonl"
_PACKAGES = ("torch", "open_clip_torch", "numpy", "scipy", "pillow")
_NEEDED = {"dataset", "task", "split", "metrics", "n", "checkpoint"}
_TABLES = ("metrics", "n", "checkpoint", "ci95", "protocol", "env", "chance")
_PROTOCOL = (
    "templates_sha",
    "prompts_sha",
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

    `description` may hold `step`, `samples_seen` and `path` of the checkpoint, `main` metric,
    `language` and `seed` of the intervals; what it does not hold comes from the encoder.
    """
    model = {**encoder.description, **description}
    protocol = dict.fromkeys(_PROTOCOL) | encoder.protocol | result.protocol
    protocol |= {"data": str(dataset.path.resolve()), "data_sha": dataset.fingerprint}
    checkpoint = {name: model.get(name) for name in ("path", "sha256", "step", "act")}
    seed = model.get("seed", 0)
    found = {name: interval(outcome, seed=seed) for name, outcome in result.outcomes.items()}
    record = {
        "schema": SCHEMA,
        "dataset": dataset.name,
        "task": task,
        "split": dataset.split,
        "model": str(model.get("model")),
        "pretrained": str(model.get("pretrained")),
        "language": model.get("language", "en"),
        "main": model.get("main"),
        "metrics": result.metrics,
        "ci95": {name: _defined(pair) for name, pair in {**found, **result.ci95}.items()},
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


def write(output: Path, record: dict[str, Any], result: TaskResult, *, keep: bool) -> None:
    """Add a result to a folder, and name its predictions in the record.

    Args:
        output: the folder.
        record: of `build_record`; gets `predictions`, relative to the folder.
        result: whose predictions and outcomes are written.
        keep: a file of predictions for every result; else those of an earlier evaluation of the
            same task are replaced, as during training.
    """
    name = _file_name(record)
    where = f"predictions/{name}.npz" if keep else f"predictions-{record['task']}.npz"
    protocol = record["protocol"]
    place = {key: np.array(protocol.get(key) or 0) for key in ("data", "data_sha", "limit")}
    arrays = {**result.predictions, **place, "split": np.array(record["split"] or "")}
    predictions.write(output / where, arrays, result.outcomes)
    record["predictions"] = where
    write_json(output / f"{name}.json", record)
    _append(output / JSONL, json.dumps(record, allow_nan=False, ensure_ascii=False))


def find_finished(folder: Path) -> dict[str, dict[str, Any]]:
    """{key: record} of the results of a folder whose predictions are still there."""
    records, _ = read(folder)
    # a file that was written again is that of the last who wrote it
    owner = {where: r for r in records if isinstance(where := r.get("predictions"), str)}
    return {
        record["key"]: record
        for where, record in owner.items()
        if "key" in record and (folder / where).is_file()
    }


def _defined(pair: Interval | None) -> Interval | None:
    return pair if pair is not None and all(map(math.isfinite, pair)) else None


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


def _file_name(record: Mapping[str, Any]) -> str:
    """Different for every data set, task, checkpoint and protocol: no result overwrites another."""
    decides = [record["checkpoint"]["sha256"], record["protocol"], record["language"]]
    decides.append(record.get("key"))
    what = json.dumps(decides, sort_keys=True)
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
