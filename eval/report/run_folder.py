"""What a run left on the disk, read for the report. Anything may be missing; `absent` says what."""

import json
import operator
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval import results
from eval.records import compared_protocol, curve_protocol, run_of, samples_seen
from eval.report.protocols import told_apart
from eval.stored_results import Result, by_checkpoint, read_results
from vlp.checkpoint import read_card
from vlp.published import CARD_FILE

STEPS_FILE = "metrics.jsonl"
CONFIG_FILE = "config.yaml"
_OF_RUN = ("checkpoints", "eval")  # folders


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The results of one task on one data set by the checkpoints of one run: of those evaluated
    during training in the order in which they were, else as far as they were trained.
    """

    place: str  # the folder under RUN/eval, or the run or model that was evaluated
    number: int  # from 1: of the protocol, where there are several
    task: str
    results: list[Result]
    in_training: bool
    apart: str = ""  # what tells its protocol from the others

    @property
    def name(self) -> str:
        name = self.place if self.in_training else f"{self.place}, {self.last['dataset']}"
        return f"{name}{self._protocol}"

    @property
    def title(self) -> str:
        task = self.task.replace("_", " ").replace("zeroshot", "zero-shot")
        split, dataset = self.last.get("split"), self.last["dataset"]
        texts = self.last.get("protocol", {}).get("captions_from")
        language = self.last.get("language", "en")
        return (
            f"{self.place}{self._protocol}: {task} on {dataset}{f' ({split})' if split else ''}"
            f"{f' with the texts of {texts}' if texts else ''}"
            f"{f' in {language}' if language != 'en' else ''}"
        )

    @property
    def _protocol(self) -> str:
        own = self.apart or ("" if self.number == 1 else f"protocol {self.number}")
        return f", {own}" if own else ""

    @property
    def records(self) -> list[dict[str, Any]]:
        return [result.record for result in self.results]

    @property
    def last(self) -> dict[str, Any]:
        return self.results[-1].record

    @property
    def predictions(self) -> Path | None:
        return self.results[-1].predictions

    @property
    def over_training(self) -> list[dict[str, Any]]:
        """The records that know how many samples the model had seen; of equal ones the newest."""
        seen = {samples_seen(record): record for record in self.records}
        return [seen[samples] for samples in sorted(s for s in seen if s is not None)]

    @property
    def checkpoints(self) -> list[Result]:
        """What the summary shows: the newest result of each checkpoint, of a run only the last."""
        return (
            self.results[-1:] if self.in_training else [r[-1] for r in by_checkpoint(self.results)]
        )

    @property
    def chance(self) -> dict[str, float]:
        """What guessing would score."""
        return chance_of(self.last)


def chance_of(record: dict[str, Any]) -> dict[str, float]:
    """What guessing would score."""
    found: dict[str, float] = record.get("chance", {})
    return found


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """Everything that the report is made of."""

    folder: Path
    steps: list[dict[str, Any]]  # one a logged step, rising in samples_seen
    results: list[Result]
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
    missing: list[str] = []  # of what a run has, and a folder of results has not
    absent: list[str] = []
    steps = _read_steps(folder / STEPS_FILE, missing, absent)
    found = read_results(folder, absent)
    benchmarks = _group(found)
    if not benchmarks:
        missing.append(f"eval/*/{results.JSONL}: benchmark results")
    config = None
    if (folder / CONFIG_FILE).is_file():
        config = (folder / CONFIG_FILE).read_text(encoding="utf-8", errors="replace")
    else:
        missing.append(f"{CONFIG_FILE}: the recipe of the run")
    if not steps and not benchmarks and config is None:
        raise FileNotFoundError(
            f"{folder} holds none of {STEPS_FILE}, {CONFIG_FILE}, eval/*/{results.JSONL} and "
            f"{results.JSONL}: nothing to report"
        )
    versions = _read_versions(folder, missing, absent)
    is_run = bool(steps or config or versions or any((folder / name).is_dir() for name in _OF_RUN))
    return RunFolder(
        folder=folder,
        steps=steps,
        results=found,
        benchmarks=benchmarks,
        config=config,
        versions=versions,
        absent=[*(missing if is_run else []), *absent],
    )


def _read_versions(folder: Path, missing: list[str], absent: list[str]) -> dict[str, str]:
    cards = sorted(folder.glob(f"checkpoints/*/model/{CARD_FILE}"))
    try:
        card = read_card(cards[-1].parent) if cards else None
    except ValueError as error:
        absent.append(f"versions of the training: {error}")
        return {}
    if card is None:
        missing.append(f"checkpoints/*/model/{CARD_FILE}: versions of the training")
    return card.versions if card else {}


def _read_steps(path: Path, missing: list[str], absent: list[str]) -> list[dict[str, Any]]:
    if not path.is_file():
        missing.append(f"{path.name}: the training curves")
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


def _group(found: Iterable[Result]) -> list[Benchmark]:
    """One benchmark for each data set, task, language, model and protocol."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in found:
        record = result.record
        model = str(Path(run_of(record)).resolve())
        what = (record["dataset"], record["split"], record["task"], record.get("language", "en"))
        key = (result.benchmark or "", *map(str, what), model, curve_protocol(record))
        groups.setdefault(key, []).append(result)
    protocols: Counter[tuple[str, ...]] = Counter()
    apart = _told_apart(groups)
    benchmarks = []
    for key, group in groups.items():
        protocols[key[:-1]] += 1
        if group[-1].benchmark is None:
            group.sort(key=lambda result: samples_seen(result.record) or 0)
        last = group[-1]
        benchmarks.append(
            Benchmark(
                place=last.benchmark or run_of(last.record),
                number=protocols[key[:-1]],
                task=last.record["task"],
                results=group,
                in_training=last.benchmark is not None,
                apart=apart[key],
            )
        )
    return benchmarks


def _told_apart(groups: Mapping[tuple[str, ...], list[Result]]) -> dict[tuple[str, ...], str]:
    """Of each group what tells its protocol from those of the same model on the same benchmark."""
    found: dict[tuple[str, ...], str] = {}
    for same in {key[:-1] for key in groups}:
        keys = [key for key in groups if key[:-1] == same]
        protocols = [compared_protocol(groups[key][-1].record) for key in keys]
        found.update(zip(keys, told_apart(protocols), strict=True))
    return found
