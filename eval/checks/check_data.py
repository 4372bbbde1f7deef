"""`python -m eval check DATA`: what a data set is, which tasks can run on it, what is wrong."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from eval.checks.defects import Findings, find_defects, label_counts, sidecars, some
from eval.datasets import EvalDataset, open_dataset
from eval.datasets.class_folders import SPLITS
from eval.run import prepare
from eval.spec import EvalSpec
from eval.tasks import TASKS

CLEAN, DEFECTIVE = 0, 1  # exit statuses
# of a message: its tasks, and what the data hold instead
_SAID_ALREADY = re.compile(r"\btask \w+:? ?|, but data .* holds [\w ]+$")


def check_data(data: str, split: str | None = None, all: bool = False) -> int:  # noqa: A002
    """Say what a data set is, which tasks can run on it and what is wrong with it.

    Args:
        data: folder or file of a data set.
        split: as in `run`.
        all: decode every picture, and not only 256 of them.
    """
    dataset = open_dataset(data, split)
    found = find_defects(dataset, everything=all)
    for name, text in _describe(dataset, found):
        print(f"{name:<11} {text}")
    reasons = {task: _why_not(dataset, data, task) for task in TASKS}
    print(f"\ntasks       {', '.join(task for task in TASKS if reasons[task] is None) or 'none'}")
    print("\ncannot run")
    for task, why in reasons.items():
        if why is not None:
            print(f"  {task:<{max(map(len, TASKS))}}  {why}")
    for title, lines in (("notes", found.notes), ("problems", found.problems)):
        if lines:
            print(f"\n{title}")
            print("".join(f"  - {line}\n" for line in lines), end="")
    if not found.problems:
        print("\nno problem found")
    return DEFECTIVE if found.problems else CLEAN


def _describe(dataset: EvalDataset, found: Findings) -> Iterator[tuple[str, str]]:
    yield "data", f"{dataset.name}: {dataset.path}"
    yield "layout", dataset.layout
    yield "split", _splits(dataset)
    yield "samples", f"{len(dataset):,}"
    yield "pictures", _pictures(found)
    yield from _labels(dataset)
    yield from _texts(dataset)
    if dataset.sources is not None:
        present = [f"{name} ({len(own)} shards)" for name, own in sidecars(dataset).items()]
        yield "sidecars", ", ".join(present) or "none"
    yield "sha256", dataset.fingerprint


def _splits(dataset: EvalDataset) -> str:
    if dataset.split is None or dataset.path.is_file():
        return dataset.split or "none"
    folders = (child for child in dataset.path.iterdir() if child.is_dir())
    others = sorted(f.name for f in folders if f.name != dataset.split and _is_split(f))
    return dataset.split + (f" (there are also {', '.join(others)})" if others else "")


def _is_split(folder: Path) -> bool:
    return folder.name in SPLITS or any(folder.glob("*.tar"))


def _pictures(found: Findings) -> str:
    seen = found.seen
    if not seen.widths:
        return f"none of {seen.looked_at:,} looked at can be read"
    size = f"{_span(seen.widths)} x {_span(seen.heights)} pixels"
    forms = ", ".join(f"{n:,} {form}" for form, n in seen.formats.most_common())
    return f"{size}; {seen.looked_at:,} looked at: {forms}"


def _span(values: Sequence[int] | np.ndarray) -> str:
    low, high = int(min(values)), int(max(values))
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _labels(dataset: EvalDataset) -> Iterator[tuple[str, str]]:
    counts = label_counts(dataset)
    if counts is not None:
        kind = "labels" if dataset.label_sets is None else "label sets"
        yield kind, f"{len(counts):,} classes, {_span(counts)} samples each"
    if dataset.classnames is not None:
        names = dataset.classnames
        yield "class names", f"{len(names):,}: {some(names, 8)}"
    if dataset.templates is not None:
        yield "templates", f"{len(dataset.templates):,}: {some(map(repr, dataset.templates), 2)}"
    for name, values in dataset.groups.items():
        known = values[values >= 0]
        sizes = np.unique(known, return_counts=True)[1]
        yield "groups", f"{name}: {len(sizes):,}" + _without(len(values) - len(known))


def _without(unknown: int) -> str:
    return f", {unknown:,} samples without one" if unknown else ""


def _texts(dataset: EvalDataset) -> Iterator[tuple[str, str]]:
    if dataset.captions is not None:
        own = [len(texts) for texts in dataset.captions]
        yield "captions", f"{sum(own):,}, {_span(own)} a picture"
    if dataset.numbers is not None and any(number is not None for number in dataset.numbers):
        known = sum(number is not None for number in dataset.numbers)
        yield "numbers", f"of {known:,} samples"
    if dataset.selection is not None:
        chosen = dataset.selection
        kinds = [kind for kind in dict.fromkeys(chosen.kinds) if kind]
        counted = f"{len(chosen):,} items, {len(chosen.item):,} comparisons"
        yield "choices", counted + (f"; kinds: {some(kinds, 12)}" if kinds else "")
    if dataset.judgements is not None:
        pairs, raters = dataset.judgements.ratings.shape
        yield "judgements", f"{pairs:,} pairs, {raters} raters"


def _why_not(dataset: EvalDataset, data: str, task: str) -> str | None:
    """Why a task cannot run on the data, in one line; None if it can."""
    try:
        prepare(dataset, EvalSpec(task=task, data=data, split=dataset.split), task)
    except (ValueError, OSError) as error:
        text = " ".join(str(error).split())
        return _SAID_ALREADY.sub("", text).lstrip(" :")
    return None
