"""Suites: which benchmarks belong together, and where their data lie under one folder."""

from dataclasses import replace
from pathlib import Path

from eval.benchmarks import SUITES, Benchmark, Entry
from eval.run import check_tasks
from eval.runner import Job
from eval.spec import EvalSpec
from eval.tasks import TASKS

__all__ = ["SUITES", "find_folder", "plan"]


def plan(suite: str, root: Path, spec: EvalSpec) -> tuple[list[Job], list[str]]:
    """What a suite evaluates on the data under a folder.

    Args:
        suite: one of `SUITES`.
        root: folder in which each benchmark has a folder, by one of `Benchmark.folders`.
        spec: the options; each benchmark gets those that one of its tasks reads.

    Returns:
        The jobs, and a sentence about each benchmark that is missing or has no task here.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: an unknown suite, or an option that no task of it reads.
    """
    if suite not in SUITES:
        raise ValueError(f"suite {suite!r}: choices are {', '.join(SUITES)}")
    if not root.is_dir():
        raise FileNotFoundError(f"data {root} is no folder; a suite expects one with its data sets")
    entries = SUITES[suite]
    check_tasks(spec, list(dict.fromkeys(task for entry in entries for task in entry.tasks)))
    jobs, problems = [], []
    for entry in entries:
        found = find_folder(entry.benchmark, root)
        if not entry.tasks:
            problems.append(f"{entry.benchmark.name}: no task here, as {entry.benchmark.reason}")
        elif found is None:
            names = ", ".join([*entry.benchmark.names, *entry.benchmark.part_of])
            problems.append(
                f"{entry.benchmark.name}: no folder in {root}; looked for {names}, also with - for "
                "/, and as wds_NAME and wds_NAME_test"
            )
        else:
            jobs.append(_job(entry, *found, spec))
    return jobs, problems


def find_folder(benchmark: Benchmark, root: Path) -> tuple[Path, str | None] | None:
    """The folder of a benchmark, the first of its names that there is, or one that several share.

    Returns:
        The folder, and the split of it where it is shared; None if there is no such folder.
    """
    own = ((root / name, None) for name in benchmark.folders)
    shared = ((root / name, split) for name, split in benchmark.part_of.items())
    return next((found for found in (*own, *shared) if found[0].is_dir()), None)


def _job(entry: Entry, folder: Path, split: str | None, spec: EvalSpec) -> Job:
    benchmark, tasks = entry.benchmark, entry.tasks
    options = frozenset().union(*(TASKS[task].options for task in tasks))
    own = spec.of_task(tasks[0], options)
    return Job(
        spec=replace(own, data=str(folder), split=split or spec.split),
        tasks=tasks,
        name=benchmark.name,
        main=benchmark.main if tasks[0] == benchmark.task else None,
    )
