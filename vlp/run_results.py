"""The benchmark results of a checkpoint, from its run or from a file: lines of `python -m eval`."""

import json
import logging
from pathlib import Path
from typing import Any

from vlp.checkpoint import read_card
from vlp.errors import InputError
from vlp.published import find_published

log = logging.getLogger(__name__)
FILE = "results.jsonl"
_NEEDED = {"dataset": str, "task": str, "metrics": dict}


def read_results(checkpoint: Path) -> list[dict[str, Any]]:
    """The results of a checkpoint that its run holds, RUN/eval/NAME/results.jsonl, oldest first.

    A result is the checkpoint's own when it has its fingerprint; of several of one benchmark the
    newest counts. Lines that are no result (torn when a machine went down) are named in the log.

    Args:
        checkpoint: a run (its newest checkpoint is meant), a checkpoint or its model folder.

    Returns:
        Empty for a model outside a run, or one that was not evaluated.

    Raises:
        ValueError: its card cannot be read.
    """
    try:
        model = find_published(checkpoint)
    except FileNotFoundError:
        return []
    card = read_card(model)
    run = model.resolve().parent.parent.parent  # RUN/checkpoints/STEP/model
    if card is None or model.resolve().parent.parent.name != "checkpoints":
        return []
    found = []
    for path in sorted(run.glob(f"eval/*/{FILE}")):
        lines, bad = _read(path)
        if bad:
            log.warning("%s: %d lines are no result", path, len(bad))
        found += [line for line in lines if fingerprint_of(line) == card.fingerprint]
    return _newest(found)


def read_results_file(path: Path) -> list[dict[str, Any]]:
    """All results of a file of `python -m eval`, the newest of each benchmark.

    Raises:
        InputError: there is no such file, or a line is no result.
    """
    try:
        lines, bad = _read(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if bad or not lines:
        where = f"line {bad[0]} is no result" if bad else "it is empty"
        needed = ", ".join(_NEEDED)
        raise InputError(f"{path}: {where}; a result is a JSON object with {needed}")
    return _newest(lines)


def _read(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """(results, numbers of the lines that are none)."""
    lines: list[dict[str, Any]] = []
    bad = []
    for number, text in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        try:
            line = json.loads(text) if text.strip() else {}
        except (ValueError, RecursionError):
            line = None
        if isinstance(line, dict) and _is_result(line):
            lines.append(line)
        elif text.strip():
            bad.append(number)
    return lines, bad


def _is_result(line: dict[str, Any]) -> bool:
    return all(isinstance(line.get(name), kind) for name, kind in _NEEDED.items())


def fingerprint_of(line: dict[str, Any]) -> object:
    """The fingerprint of the model that a result is of; None where it names none."""
    checkpoint = line.get("checkpoint")
    return checkpoint.get("sha256") if isinstance(checkpoint, dict) else None


def _newest(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("dataset", "split", "task", "language", "protocol", "model")
    by_benchmark: dict[str, dict[str, Any]] = {}
    for line in lines:
        key = json.dumps([line.get(name) for name in names], sort_keys=True)
        by_benchmark.pop(key, None)
        by_benchmark[key] = line
    return list(by_benchmark.values())
