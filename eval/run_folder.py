"""What a run left on the disk, read for the report. Anything may be missing; `absent` says what."""

import hashlib
import json
import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval import results
from vlp.checkpoint import read_card
from vlp.metrics import chance
from vlp.published import CARD_FILE

STEPS_FILE = "metrics.jsonl"
CONFIG_FILE = "config.yaml"
# what differs between checkpoints of one run, and what does not decide the number: the data and the
# prompts have a fingerprint, so where they lie does not matter. `seed` is that of the intervals: a
# task whose number it decides too says so under a name of its own, `held_out_seed`, `caption_seed`
_NO_PROTOCOL = (
    "logit_scale",
    "data",
    "templates_from",
    "classnames_from",
    "seed",
    "batch",
    "unread_options",
)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The results of one task on one data set, oldest first, and its newest predictions."""

    name: str  # the folder under RUN/eval, or the data set's name
    task: str
    records: list[dict[str, Any]]
    predictions: Path | None

    @property
    def title(self) -> str:
        task = self.task.replace("_", " ").replace("zeroshot", "zero-shot")
        split = self.last.get("split")
        texts = self.last.get("protocol", {}).get("captions_from")
        return (
            f"{self.name}: {task} on {self.last['dataset']}{f' ({split})' if split else ''}"
            f"{f' with the texts of {texts}' if texts else ''}"
        )

    @property
    def last(self) -> dict[str, Any]:
        return self.records[-1]

    @property
    def over_training(self) -> list[dict[str, Any]]:
        """The records that know how many samples the model had seen; of equal ones the newest."""
        seen = {r["checkpoint"]["samples_seen"]: r for r in self.records if _samples(r) is not None}
        return [seen[samples] for samples in sorted(seen)]

    @property
    def chance(self) -> dict[str, float]:
        """What guessing would score."""
        n = self.last["n"]
        if "chance" in self.last:
            found: dict[str, float] = self.last["chance"]
            return found
        if n.get("classes"):
            return chance.classification(n["classes"])
        return chance.retrieval(n["images"], n["texts"])


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """Everything that the report is made of."""

    folder: Path
    steps: list[dict[str, Any]]  # one a logged step, rising in samples_seen
    benchmarks: list[Benchmark]
    config: str | None
    versions: dict[str, str]  # of the packages that trained the newest checkpoint
    absent: list[str] = field(default_factory=list)  # sentences for the reader


def read_run(folder: Path) -> RunFolder:
    """Read a run, or a plain folder of results.

    Raises:
        FileNotFoundError: the folder does not exist, or holds nothing that a report could show.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; expected a run or a folder of results")
    absent: list[str] = []
    steps = _read_steps(folder / STEPS_FILE, absent)
    benchmarks = _read_benchmarks(folder, absent)
    config = None
    if (folder / CONFIG_FILE).is_file():
        config = (folder / CONFIG_FILE).read_text(encoding="utf-8", errors="replace")
    else:
        absent.append(f"{CONFIG_FILE}: the recipe of the run")
    if not steps and not benchmarks and config is None:
        raise FileNotFoundError(
            f"{folder} holds none of {STEPS_FILE}, {CONFIG_FILE}, eval/*/{results.JSONL} and "
            f"{results.JSONL}: nothing to report"
        )
    return RunFolder(
        folder=folder,
        steps=steps,
        benchmarks=benchmarks,
        config=config,
        versions=_read_versions(folder, absent),
        absent=absent,
    )


def _read_versions(folder: Path, absent: list[str]) -> dict[str, str]:
    cards = sorted(folder.glob(f"checkpoints/*/model/{CARD_FILE}"))
    try:
        card = read_card(cards[-1].parent) if cards else None
    except ValueError as error:
        absent.append(f"versions of the training: {error}")
        return {}
    if card is None:
        absent.append(f"checkpoints/*/model/{CARD_FILE}: versions of the training")
    return card.versions if card else {}


def _read_steps(path: Path, absent: list[str]) -> list[dict[str, Any]]:
    if not path.is_file():
        absent.append(f"{path.name}: the training curves")
        return []
    by_samples: dict[int, dict[str, Any]] = {}
    unreadable = 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            step = json.loads(line)
            by_samples[operator.index(step["samples_seen"])] = step
        except (ValueError, KeyError, TypeError, RecursionError):
            unreadable += bool(line.strip())
    if unreadable:
        absent.append(f"{path.name}: {unreadable} lines that are no logged step")
    return [by_samples[samples] for samples in sorted(by_samples)]


def _read_benchmarks(folder: Path, absent: list[str]) -> list[Benchmark]:
    folders = sorted(path.parent for path in folder.glob(f"eval/*/{results.JSONL}"))
    if (folder / results.JSONL).is_file():
        folders.append(folder)
    found = []
    for place in folders:
        records, torn = results.read(place)
        if torn:
            absent.append(f"{place / results.JSONL}: {torn} lines that are no result")
        found += _group(place, records, in_training=place != folder)
    if not found:
        absent.append(f"eval/*/{results.JSONL}: benchmark results")
    return found


def _group(place: Path, records: list[dict[str, Any]], *, in_training: bool) -> list[Benchmark]:
    """One benchmark for each data set, task, model and protocol that a folder has results of."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for record in records:
        model = str(Path(_model_of(record)).resolve())
        key = (record["dataset"], str(record["split"]), record["task"], model, _protocol(record))
        groups.setdefault(key, []).append(record)
    newest = {record["task"]: record for record in records}
    protocols: Counter[tuple[str, ...]] = Counter()
    found = []
    for (dataset, split, task, model, _), group in groups.items():
        # the predictions in the folder are those of the last evaluation of the task, whoever's
        predictions = place / f"predictions-{task}.npz"
        own = group[-1] is newest[task] and predictions.is_file()
        name = place.name if in_training else f"{_model_of(group[-1])}, {dataset}"
        protocols[dataset, split, task, model] += 1
        number = protocols[dataset, split, task, model]
        found.append(
            Benchmark(
                name=name if number == 1 else f"{name}, protocol {number}",
                task=task,
                records=group,
                predictions=predictions if own else None,
            )
        )
    return found


def _model_of(record: Mapping[str, Any]) -> str:
    """The run that a checkpoint belongs to, or where a model that is none of ours came from."""
    path = record["checkpoint"].get("path")
    if not path:
        return f"{record.get('model')} {record.get('pretrained')}"
    return str(path).partition("/checkpoints/")[0]


def _protocol(record: Mapping[str, Any]) -> str:
    """sha256 of what must be equal for two numbers to be points of one curve."""
    protocol = {k: v for k, v in record.get("protocol", {}).items() if k not in _NO_PROTOCOL}
    return hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()


def _samples(record: Mapping[str, Any]) -> int | None:
    samples: int | None = record.get("checkpoint", {}).get("samples_seen")
    return samples
