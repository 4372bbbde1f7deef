"""The known benchmarks and suites, read from `benchmarks.yaml` beside this file.

A benchmark is known by its name and found by the name of its folder; the file says what its fields
mean.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

FILE = Path(__file__).with_suffix(".yaml")


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """The column of a metadata vector that tells groups apart."""

    column: int
    without: tuple[int, ...] = ()  # values that are no group of their own


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What is known of a benchmark; None where it is not."""

    name: str
    task: str | None  # None where no task here evaluates it, and `reason` says why
    source: str
    n: int | None = None
    classes: int | None = None
    chance: float | None = None  # in the main metric
    main: str | None = None  # metric, where it is not the task's own
    also: tuple[str, ...] = ()  # further names
    part_of: Mapping[str, str] = field(default_factory=dict)  # {folder of several: its split}
    shift_of: str | None = None
    groups: Mapping[str, Grouping] = field(default_factory=dict)
    recalled: tuple[str, ...] = ()  # fields that are from memory
    reason: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its own, the further ones, and the last part of each."""
        whole = (self.name, *self.also)
        return tuple(dict.fromkeys((*whole, *(name.rpartition("/")[2] for name in whole))))

    @property
    def folders(self) -> tuple[str, ...]:
        """The names under which its folder is looked for, in that order.

        `vtab/pets`: itself, vtab-pets, wds_vtab-pets, wds_vtab-pets_test, then the same for pets.
        """
        return tuple(dict.fromkeys(form for name in self.names for form in _forms(name)))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A benchmark of a suite, with the tasks that the suite runs on it."""

    benchmark: Benchmark
    tasks: tuple[str, ...]  # none where no task here evaluates it


def of_folder(name: str) -> Benchmark | None:
    """The benchmark whose folder may have this name."""
    return next((found for found in BENCHMARKS.values() if name in found.folders), None)


def _forms(name: str) -> tuple[str, ...]:
    dashed = name.replace("/", "-")
    return name, dashed, f"wds_{dashed}", f"wds_{dashed}_test"


def _read(file: Path) -> tuple[dict[str, Benchmark], dict[str, tuple[Entry, ...]]]:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    known = {own.name: own for own in _benchmarks(content)}
    suites = {
        name: tuple(_entry(entry, known) for entry in entries)
        for name, entries in content["suites"].items()
    }
    return known, suites


def _benchmarks(content: Mapping[str, Any]) -> Iterator[Benchmark]:
    for task, sets in (*content["tasks"].items(), (None, content["without_task"])):
        for name, facts in sets.items():
            groups = {key: _grouping(how) for key, how in facts.pop("groups", {}).items()}
            lists = {key: tuple(facts.pop(key, ())) for key in ("also", "recalled")}
            own: dict[str, Any] = {**facts, **lists, "groups": groups}
            yield Benchmark(name=name, task=task, **own)


def _grouping(facts: Mapping[str, Any]) -> Grouping:
    return Grouping(column=facts["column"], without=tuple(facts.get("without", ())))


def _entry(entry: str | Mapping[str, list[str]], known: Mapping[str, Benchmark]) -> Entry:
    if isinstance(entry, str):
        benchmark = known[entry]
        return Entry(benchmark=benchmark, tasks=(benchmark.task,) if benchmark.task else ())
    ((name, tasks),) = entry.items()
    return Entry(benchmark=known[name], tasks=tuple(tasks))


_read_once = _read(FILE)
BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(_read_once[0])
SUITES: Mapping[str, tuple[Entry, ...]] = MappingProxyType(_read_once[1])
