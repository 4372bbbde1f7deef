"""A collection to data folders: what is missing is written, and the balance of it is printed."""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from data_tools.building.benchmark_layout import class_files
from data_tools.building.collection import Collection, Picture
from data_tools.building.pictures import Policy
from data_tools.building.retry import Retry, difference, retry_shard
from data_tools.building.shard_writer import ShardJob, read_rows, write_shard
from data_tools.destination import destination
from data_tools.engine import Options, Run, own_part
from data_tools.manifest import (
    Mark,
    Plan,
    announce,
    check_apart,
    clear_others,
    close_folder,
    fingerprint,
    finished,
    former,
    open_folder,
    sha256_json,
)
from vlp.errors import InputError, RunError
from vlp.progress import bar
from vlp.terminal import printable

MOST_PER_SHARD = 10_000  # the key has four digits for the place in the shard
_NAMED = 5  # failures, or shards still to come


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How a collection is written; `settings` are those that a resumed build must share."""

    output: str  # path or URL
    settings: Mapping[str, Any]
    run: Options
    policy: Policy = field(default_factory=Policy)
    samples_per_shard: int = 1000
    restart: bool = False
    retry_failed: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.samples_per_shard <= MOST_PER_SHARD:
            raise InputError(
                f"--samples-per-shard {self.samples_per_shard}: expected 1 to {MOST_PER_SHARD}"
            )
        if self.restart and self.retry_failed:
            raise InputError(
                "--retry-failed: --restart writes everything anew; give one of the two"
            )
        if self.restart and not self.run.is_whole:
            raise InputError(
                "--restart: would remove what the other parts have written; remove the old build "
                "by a run without --part, or choose another --output"
            )


def write_collection(collection: Collection, writing: Writing) -> None:
    """Write every split of a collection as a data folder, and print what became of each input.

    Raises:
        InputError: the output holds something else, or another run is writing there.
        RunError: some shards could not be written, or not one picture.
    """
    started = time.monotonic()
    output = destination(writing.output)
    check_apart(collection, output)
    plans = [_plan(collection, split, writing) for split in collection.splits]
    with ExitStack() as locks:
        for plan in plans:
            locks.enter_context(plan.folder.held(writing.run.part))
        clear_others(output, list(collection.splits), writing.restart)
        for plan in plans:
            open_folder(plan, writing.restart, writing.retry_failed)
        retries = _retries(plans, writing.run) if writing.retry_failed else []
        for plan in plans:
            for name, text in class_files(collection.classnames, collection.templates).items():
                plan.folder.write(name, text.encode())
        run, fresh = _write_missing(plans, retries, writing.run)
        marks = [finished(plan) for plan in plans]
        for plan, found in zip(plans, marks, strict=True):
            done = [mark for mark in found if mark is not None]
            if len(done) == len(found):
                close_folder(plan, done)
    seconds = time.monotonic() - started
    pace = f"{seconds:.1f} s, {fresh / seconds:,.0f} pictures/s" if fresh else "none was missing"
    _report(plans, marks, pace)
    run.finish()


def _plan(collection: Collection, split: str, writing: Writing) -> Plan:
    settings_sha256 = sha256_json(writing.settings)
    folder = destination(writing.output).child(split)
    jobs = [
        ShardJob(
            folder=folder,
            number=number,
            pictures=chunk,
            reader=collection.reader,
            policy=writing.policy,
            settings_sha256=settings_sha256,
            input_sha256=fingerprint(chunk, collection.reader),
        )
        for number, chunk in enumerate(_chunks(collection.splits[split], writing.samples_per_shard))
    ]
    return Plan(
        folder=folder,
        split=split,
        settings=writing.settings,
        input_sha256=sha256_json([job.input_sha256 for job in jobs]),
        jobs=jobs,
    )


def _chunks(pictures: Sequence[Picture], size: int) -> Iterator[tuple[Picture, ...]]:
    remaining = iter(pictures)
    with bar("checking files", "pictures", len(pictures)) as done:
        while chunk := tuple(islice(remaining, size)):
            yield chunk
            done.update(len(chunk))


def _retries(plans: Sequence[Plan], options: Options) -> list[Retry]:
    """The shards with failures, once it is sure that nothing but what failed may have changed.

    Raises:
        InputError: something else has changed.
    """
    retries = [
        Retry(job, mark)
        for plan in plans
        for job, mark in zip(plan.jobs, former(plan), strict=True)
        if mark is not None and mark["successes"] < mark["count"]
    ]
    changed = [retry for retry in retries if retry.mark["input_sha256"] != retry.job.input_sha256]
    checks = Run(difference, changed, options, what="checking what had not failed")
    differences = [text for text in checks.results() if text]
    checks.finish()
    if differences:
        raise InputError(
            f"--retry-failed: more has changed than what failed: {'; '.join(differences[:_NAMED])}"
            "; give the old input, or --restart to build it anew"
        )
    for plan in plans:
        if any(retry.job.folder == plan.folder for retry in changed):
            announce(plan)  # from now on it is a build of the repaired input
    inputs = sum(retry.mark["count"] - retry.mark["successes"] for retry in retries)
    print(f"{inputs:,} inputs that failed, in {len(retries):,} shards, are tried again", flush=True)
    return retries


def _write_missing(
    plans: Sequence[Plan], retries: Sequence[Retry], options: Options
) -> tuple[Run[ShardJob | Retry, Mark], int]:
    """Write the shards of this part that are not finished; the run, and the inputs it was for."""
    by_name = {str(retry): retry for retry in retries}
    pairs = [pair for plan in plans for pair in zip(plan.jobs, finished(plan), strict=True)]
    own = own_part(pairs, options)
    missing: list[ShardJob | Retry] = [
        by_name.get(str(job), job) for job, mark in own if mark is None or str(job) in by_name
    ]
    if len(missing) < len(own):
        print(f"{len(own) - len(missing)} of {len(own)} shards are finished already", flush=True)
    run = Run(_write, missing, options, what="writing shards", weight=_weight)
    written = [_weight(job) for job, _ in run]
    return run, sum(written)


def _write(job: ShardJob | Retry) -> Mark:
    return retry_shard(job) if isinstance(job, Retry) else write_shard(job)


def _weight(job: ShardJob | Retry) -> int:
    return len(job.job.pictures if isinstance(job, Retry) else job.pictures)


def _report(plans: Sequence[Plan], marks: Sequence[Sequence[Mark | None]], pace: str) -> None:
    """Print the balance of inputs and outputs, name the first failures, and what is to come.

    Raises:
        RunError: not one picture could be written.
    """
    dropped = 0
    statuses: Counter[str] = Counter()
    for plan, found in zip(plans, marks, strict=True):
        done = [mark for mark in found if mark is not None]
        counts = sum((Counter(mark["status_dict"]) for mark in done), Counter[str]())
        dropped += sum(mark["dropped_captions"] for mark in done)
        statuses += counts
        print(printable(f"{plan.folder}: {counts['success']:,} samples in {len(done)} shards"))
    jobs = [job for plan in plans for job in plan.jobs]
    pairs = list(zip(jobs, (mark for found in marks for mark in found), strict=True))
    to_come = [job for job, mark in pairs if mark is None]
    missing = sum(len(job.pictures) for job in to_come)
    inputs = statuses.total() + missing
    written = statuses.pop("success", 0)
    others = [*sorted(statuses.items()), *([("in shards still to come", missing)] * bool(to_come))]
    failed = "".join(f" + {count:,} {status}" for status, count in others)
    captions = f"; {dropped:,} empty or bad captions dropped" if dropped else ""
    print(f"{inputs:,} inputs = {written:,} written{failed}{captions}; {pace}", flush=True)
    if statuses:
        _name_failures([job for job, mark in pairs if mark and mark["successes"] < mark["count"]])
    if to_come:
        names = ", ".join(map(str, to_come[:_NAMED])) + ", ..." * (len(to_come) > _NAMED)
        print(
            f"{len(to_come):,} of {len(pairs):,} shards are still to come: {names}; the run that "
            "finds them all finished completes the manifest",
            flush=True,
        )
    elif not written:
        raise RunError("not one picture could be written; the reasons are above")


def _name_failures(jobs: Sequence[ShardJob]) -> None:
    failures = (row for job in jobs for row in _failed_rows(job))
    for row in islice(failures, _NAMED):
        text = printable(f"{row['status']}: {row['url']}: {row['error_message']}")
        print(f"  {text}", file=sys.stderr)
    print("  every failure is a row of the .parquet beside its shard", file=sys.stderr)


def _failed_rows(job: ShardJob) -> list[dict[str, Any]]:
    rows = read_rows(job, ["url", "status", "error_message"])
    return [row for row in rows if row["status"] != "success"]
