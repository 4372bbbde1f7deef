"""`build`: pictures and captions to WebDataset shards, the same bytes at any number of workers."""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data_tools.benchmark_layout import write_class_files
from data_tools.collection import Collection, Picture
from data_tools.errors import InputError, RunError
from data_tools.executor import run_jobs, worker_count
from data_tools.inputs import Columns, read_input
from data_tools.manifest import (
    Plan,
    clear_others,
    close_folder,
    fingerprint,
    locked,
    open_folder,
    sha256_json,
)
from data_tools.progress import bar
from data_tools.shard_writer import ShardJob, write_shard

MOST_PER_SHARD = 10_000  # the key has four digits for the place in the shard
_NAMED_FAILURES = 5


@dataclass(frozen=True, kw_only=True)
class Build:
    """Write pictures with captions as shards.

    Args:
        input: a table (.csv, .tsv, .jsonl, .parquet) with paths and captions, a folder of pictures
            with .txt captions of the same name, or a folder of class folders.
        output: folder of the shards; with a split column, of one folder for each split.
        image_column: the table's column of paths, absolute or relative to the table.
        caption_column: the table's column of captions, a text or a list of texts.
        split_column: the table's column that says which split a picture belongs to.
        caption_template: caption of a picture in a class folder, with {c} for the class name.
        templates: file with more such captions, one a line; replaces caption_template.
        image_size: make the short side at most this many pixels; every size is kept without it.
        samples_per_shard: input pictures for each shard, at most 10,000.
        workers: processes; 0 is one for each core.
        restart: remove what an earlier build wrote in output, and build it anew.
    """

    input: Path
    output: Path
    image_column: str = "image"
    caption_column: str = "caption"
    split_column: str | None = None
    caption_template: str = "a photo of a {c}."
    templates: Path | None = None
    image_size: int | None = None
    samples_per_shard: int = 1000
    workers: int = 0
    restart: bool = False


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How a collection is written; `settings` are those that a resumed build must share."""

    output: Path
    settings: Mapping[str, Any]
    samples_per_shard: int = 1000
    image_size: int | None = None  # pixels
    workers: int = 0
    restart: bool = False


def build(options: Build) -> None:
    """Run the command.

    Raises:
        InputError: the options or the input cannot be used.
        RunError: the build stopped; the same command continues it.
    """
    templates = _read_templates(options)
    columns = Columns(
        image=options.image_column, caption=options.caption_column, split=options.split_column
    )
    collection = read_input(options.input, columns, templates)
    print(collection.kind, flush=True)
    _check_used(options, collection)
    settings = {
        "image_column": options.image_column,
        "caption_column": options.caption_column,
        "split_column": options.split_column,
        "templates": list(collection.templates),
        "image_size": options.image_size,
        "samples_per_shard": options.samples_per_shard,
    }
    writing = Writing(
        output=options.output,
        settings=settings,
        samples_per_shard=options.samples_per_shard,
        image_size=options.image_size,
        workers=options.workers,
        restart=options.restart,
    )
    write_collection(collection, writing)


def write_collection(collection: Collection, writing: Writing) -> None:
    """Write every split of a collection as a data folder, and print what became of each input."""
    _check(writing)
    started = time.monotonic()
    plans = [_plan(collection, split, writing) for split in collection.splits]
    with ExitStack() as locks:
        for plan in plans:
            locks.enter_context(locked(plan.folder))
        clear_others(writing.output, list(collection.splits), writing.restart)
        marks = [open_folder(plan, writing.restart) for plan in plans]
        _write_class_files(collection, plans)
        fresh = _write_missing(plans, marks, writing.workers)
        done = [[mark for mark in folder if mark is not None] for folder in marks]
        for plan, stats in zip(plans, done, strict=True):
            close_folder(plan, stats)
    seconds = time.monotonic() - started
    pace = f"{seconds:.1f} s, {fresh / seconds:,.0f} pictures/s" if fresh else "none was missing"
    _report(plans, done, pace)


def _read_templates(options: Build) -> tuple[str, ...]:
    if options.templates is None:
        templates, place = [options.caption_template], "--caption-template"
    else:
        place = f"--templates {options.templates}"
        try:
            text = options.templates.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{place}: {error}") from None
        templates = [line.strip() for line in text.splitlines() if line.strip()]
    for template in templates or [""]:
        if "{c}" not in template:
            raise InputError(f"{place}: {template!r} has no {{c}}, the place of the class name")
    return tuple(templates)


def _check_used(options: Build, collection: Collection) -> None:
    """Refuse options that this kind of input would ignore."""
    is_folder = options.input.is_dir()
    table_only = ("image_column", "caption_column", "split_column") if is_folder else ()
    class_only = () if collection.classnames else ("caption_template", "templates")
    for name in (*table_only, *class_only):
        value = getattr(options, name)
        if value != getattr(Build, name):
            kinds = "tables" if name in table_only else "class folders"
            option = "--" + name.replace("_", "-")
            raise InputError(
                f"{option} {value}: only for {kinds}, but the input is a {collection.kind}"
            )


def _check(writing: Writing) -> None:
    if not 1 <= writing.samples_per_shard <= MOST_PER_SHARD:
        raise InputError(
            f"--samples-per-shard {writing.samples_per_shard}: expected 1 to {MOST_PER_SHARD}"
        )
    if writing.image_size is not None and writing.image_size < 1:
        raise InputError(f"--image-size {writing.image_size}: expected at least 1 pixel")
    if writing.workers < 0:
        raise InputError(f"--workers {writing.workers}: expected 0 (one for each core) or more")


def _plan(collection: Collection, split: str, writing: Writing) -> Plan:
    settings_sha256 = sha256_json(writing.settings)
    folder = writing.output / split
    chunks = _chunks(collection.splits[split], writing.samples_per_shard)
    jobs = [
        ShardJob(
            folder=folder,
            number=number,
            pictures=chunk,
            reader=collection.reader,
            image_size=writing.image_size,
            settings_sha256=settings_sha256,
            input_sha256=fingerprint(chunk, collection.reader),
        )
        for number, chunk in enumerate(chunks)
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


def _write_class_files(collection: Collection, plans: Sequence[Plan]) -> None:
    """What the zero-shot benchmark reads beside shards that carry a class."""
    if not collection.classnames:
        return
    for plan in plans:
        write_class_files(plan.folder, collection.classnames, collection.templates)


def _write_missing(
    plans: Sequence[Plan], marks: Sequence[list[dict[str, Any] | None]], workers: int
) -> int:
    """Write the shards that have no commit mark and fill in their marks; returns their inputs."""
    by_folder = {plan.folder: folder for plan, folder in zip(plans, marks, strict=True)}
    jobs = [job for plan in plans for job in plan.jobs]
    missing = [job for job in jobs if by_folder[job.folder][job.number] is None]
    if len(missing) < len(jobs):
        print(f"{len(jobs) - len(missing)} of {len(jobs)} shards are finished already", flush=True)
    total = sum(len(job.pictures) for job in missing)
    with bar("writing shards", "pictures", total) as done:
        count = worker_count(workers, len(missing))
        for job, stats in run_jobs(write_shard, missing, count, lambda job: str(job.shard)):
            by_folder[job.folder][job.number] = stats
            done.update(len(job.pictures))
    return total


def _report(plans: Sequence[Plan], done: Sequence[list[dict[str, Any]]], pace: str) -> None:
    """Print the balance of inputs and outputs, and name the first failures.

    Raises:
        RunError: not one picture could be written.
    """
    inputs, dropped = 0, 0
    statuses: Counter[str] = Counter()
    for plan, stats in zip(plans, done, strict=True):
        counts = Counter[str]()
        for mark in stats:
            counts.update(mark["status_dict"])
            dropped += mark["dropped_captions"]
        statuses += counts
        inputs += counts.total()
        print(f"{plan.folder}: {counts['success']:,} samples in {len(stats)} shards")
    written = statuses.pop("success", 0)
    failed = "".join(f" + {count:,} {status}" for status, count in sorted(statuses.items()))
    captions = f"; {dropped:,} empty or bad captions dropped" if dropped else ""
    print(f"{inputs:,} inputs = {written:,} written{failed}{captions}; {pace}", flush=True)
    if statuses:
        _name_failures(plans, done)
    if not written:
        raise RunError("not one picture could be written; the reasons are above")


def _name_failures(plans: Sequence[Plan], done: Sequence[list[dict[str, Any]]]) -> None:
    jobs = [
        job
        for plan, stats in zip(plans, done, strict=True)
        for job, mark in zip(plan.jobs, stats, strict=True)
        if mark["successes"] < mark["count"]
    ]
    failures = (row for job in jobs for row in _failed_rows(job))
    for row in islice(failures, _NAMED_FAILURES):
        print(f"  {row['status']}: {row['url']}: {row['error_message']}", file=sys.stderr)
    print("  every failure is a row of the .parquet beside its shard", file=sys.stderr)


def _failed_rows(job: ShardJob) -> list[dict[str, Any]]:
    columns = ["url", "status", "error_message"]
    rows = pq.read_table(job.shard.with_suffix(".parquet"), columns=columns).to_pylist()
    return [row for row in rows if row["status"] != "success"]
