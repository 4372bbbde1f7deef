"""Many checkpoints on many benchmarks: what is finished is left alone, what fails is named."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from eval import results
from eval.datasets import open_dataset
from eval.features import Features
from eval.metric_names import summary
from eval.run import Prepared, check_model, evaluate_task, prepare
from eval.spec import EvalSpec
from vlp import dist, load
from vlp.checkpoint import read_card
from vlp.published import find_published

# what a benchmark may fail of while the others go on; with several ranks these are raised by all
FAILURES = (ValueError, OSError)


@dataclass(frozen=True, kw_only=True)
class Job:
    """Tasks on one data set."""

    spec: EvalSpec  # its `task` is the first of them
    tasks: tuple[str, ...]
    name: str | None = None  # of the benchmark, where it is not that of the folder
    main: str | None = None  # metric of the first task's summary, where it is not the task's own

    @property
    def title(self) -> str:
        return self.name or self.spec.data


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How checkpoints are loaded, and where features and results are kept."""

    output: Path
    cache: Path | None
    device: str
    precision: str
    recompute: bool = False  # also what is finished


@dataclass(kw_only=True)
class Report:
    """What became of every benchmark."""

    records: list[dict[str, Any]] = field(default_factory=list)
    finished_before: int = 0
    problems: list[str] = field(default_factory=list)  # in the order in which they came up

    def add(self, where: str, error: Exception) -> None:
        self.problems.append(f"{where}: {reason(error)}")


def reason(error: Exception) -> str:
    """What went wrong, for people: of the operating system's errors without the number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def open_job(job: Job) -> list[Prepared]:
    """The tasks of a job, each checked on its data.

    Raises:
        FileNotFoundError, ValueError: the data cannot be used.
    """
    spec = job.spec
    dataset = open_dataset(spec.data, spec.split).limited(spec.limit)
    if job.name is not None:
        dataset = replace(dataset, name=job.name)
    mains = {job.tasks[0]: job.main}
    return [prepare(dataset, spec, task, main=mains.get(task)) for task in job.tasks]


def run_checkpoint(
    source: str, jobs: Sequence[Job], settings: Settings, say: Callable[[str], None]
) -> Report:
    """Evaluate one checkpoint on every benchmark; every rank calls it.

    Raises:
        FileNotFoundError, ValueError: the checkpoint cannot be loaded.
    """
    started = perf_counter()
    encoder = load(source, device=settings.device, precision=settings.precision)
    description = {"load_seconds": perf_counter() - started, **_progress(source)}
    report = Report()
    finished = {} if settings.recompute else results.find_finished(settings.output)
    finished = dist.gather_objects(finished)[0]
    for job in jobs:
        where = f"{source}: {job.title}"
        try:
            everything = _open_on_all(job)
        except FAILURES as error:
            report.add(where, error)
            continue
        batch, workers = job.spec.batch, job.spec.workers
        features = Features(
            encoder, settings.cache, batch=batch, workers=workers, show_progress=True
        )
        for prepared in everything:
            name = prepared.task.name
            try:
                record = _run_task(features, prepared, (finished, description), settings)
            except FAILURES as error:
                report.add(f"{where}, {name}", error)
                continue
            if record["main"] != prepared.main:
                own = record["main"]
                why = f"its main metric {prepared.main} is not reported on this data, but {own} is"
                report.add(f"{where}, {name}", ValueError(why))
            report.finished_before += record["key"] in finished
            report.records.append(record)
            say(summary(record, "finished before" if record["key"] in finished else ""))
    return report


def _open_on_all(job: Job) -> list[Prepared]:
    """`open_job`; all ranks fail where one does, as what follows needs all of them."""
    found: list[Prepared] = []
    failure: Exception | None = None
    try:
        found = open_job(job)
    except FAILURES as error:
        failure = error
    failures = [text for text in dist.gather_objects(failure and str(failure)) if text]
    if failures:
        raise ValueError(failures[0]) from failure
    return found


def _run_task(
    features: Features,
    prepared: Prepared,
    known: tuple[Mapping[str, dict[str, Any]], Mapping[str, Any]],
    settings: Settings,
) -> dict[str, Any]:
    finished, description = known
    check_model(features.encoder, (prepared.task.name,))
    # the first rank's: others may see other times of files
    key = dist.gather_objects(prepared.key(features.encoder))[0]
    if key in finished:
        return finished[key]
    record, result = evaluate_task(features, prepared, description, key)
    if dist.rank() == 0:
        results.write(settings.output, record, result, keep=True)
    return record


def _progress(source: str) -> dict[str, int]:
    """How far a checkpoint of ours was trained; nothing for weights made by others."""
    path = Path(source.removeprefix("local-dir:")).expanduser()
    try:
        card = read_card(find_published(path)) if path.is_dir() else None
    except FileNotFoundError:  # a folder of another library
        return {}
    return {"step": card.step, "samples_seen": card.samples_seen} if card else {}
