"""`validate`: what is wrong with shards, each defect by its code; nothing is written into them."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.defects.across import Repeated, find_repeated, name_repeated
from data_tools.defects.beside import missing_shards
from data_tools.defects.codes import Level
from data_tools.defects.report import Report
from data_tools.defects.samples import Checks
from data_tools.defects.scanner import Checked, Defect, Job, check_shard
from data_tools.engine import Options, Run, own_part
from data_tools.samples import find_shards
from vlp.data.images import MAX_PIXELS
from vlp.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Validate(Options):
    """Find the defects of shards; the exit code is 1 where there are more errors than allowed.

    Never writes into the data, and draws nothing. Keys that come in several shards are looked for
    within each folder, and with --part among the shards of the part alone.

    Args:
        shards: tars, folders of tars, or patterns such as 'data/{00000..00099}.tar'.
        level: headers walks the tar; members also reads captions and the headers of pictures;
            decode also decodes every picture.
        report: file for one JSON line a defect, with a _summary.json beside it; the first defects
            are printed without it.
        max_bad: errors that are still a success.
        max_pixels: of a picture, by its header.
        max_caption: characters; a text tower of 248 tokens reads about 1,000.
    """

    shards: list[str]
    level: Level = "headers"
    report: Path | None = None
    max_bad: int = 0
    max_pixels: int = MAX_PIXELS
    max_caption: int = 1000


def validate(options: Validate) -> int:
    """Run the command; returns the exit code, 1 where there are more than `max_bad` errors.

    Raises:
        InputError: nothing matches, or the report would lie among the data.
    """
    if options.max_bad < 0:
        raise InputError(f"--max-bad {options.max_bad}: expected 0 or more")
    checks = Checks(
        level=options.level, max_pixels=options.max_pixels, max_caption=options.max_caption
    )
    shards = find_shards(options.shards)
    _check_report(options.report, shards)
    started = time.monotonic()
    own = own_part(shards, options)
    with tempfile.TemporaryFile() as lines:
        report = Report([str(shard) for shard in shards], lines)
        digests = _check_all(own, checks, report, options)
        _check_across(own, digests, report, options)
        if options.part.startswith("1/"):
            _check_folders(shards, report)
        _print(report, options, time.monotonic() - started)
    return int(report.count("error") > options.max_bad)


def _check_report(path: Path | None, shards: list[Path]) -> None:
    if path is None:
        return
    if path.absolute().parent.resolve() in {shard.absolute().parent.resolve() for shard in shards}:
        raise InputError(
            f"--report {path}: nothing is written among the shards; choose another folder"
        )
    if path.is_dir():
        raise InputError(f"--report {path}: is a folder; name a file, such as {path}/report.jsonl")
    try:  # now, and not after hours of reading
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"--report {path}: cannot be written there ({error})") from None


def _check_all(own: list[Path], checks: Checks, report: Report, options: Validate) -> list[bytes]:
    """Check every shard; returns the digests of their keys."""
    jobs = [Job(shard, checks) for shard in own]
    run: Run[Job, Checked] = Run(
        check_shard, jobs, options, what="checking", name=lambda job: str(job.shard)
    )
    digests: dict[Path, bytes] = {}
    for job, checked in run:
        report.add(str(job.shard), checked.defects)
        report.counts.update(checked.counts)
        digests[job.shard] = checked.digests
    for name, error in run.failures.items():
        report.add(name, [Defect("", "FILE_UNREADABLE", error)])
        report.counts["shards"] += 1
    return [digests.get(shard, b"") for shard in own]


def _check_across(own: list[Path], digests: list[bytes], report: Report, options: Validate) -> None:
    jobs = list(find_repeated(own, digests))
    run: Run[Repeated, list[Defect]] = Run(
        name_repeated, jobs, options, what="naming repeated keys", name=lambda job: str(job.shard)
    )
    for job, defects in run:
        report.add(str(job.shard), defects)
    for name, error in run.failures.items():
        report.add(name, [Defect("", "FILE_UNREADABLE", error)])


def _check_folders(shards: list[Path], report: Report) -> None:
    """Shards that a folder's lists name and that are gone; once, by the first part."""
    for folder in dict.fromkeys(shard.parent for shard in shards):
        for name, place in missing_shards(folder):
            gone = Defect("", "SHARD_MISSING", f"{place} names it")
            report.add(str(folder / name), [gone])


def _print(report: Report, options: Validate, seconds: float) -> None:
    counts = report.counts
    read = counts["bytes"] / 1e9
    print(
        f"{counts['shards']:,} shards, {counts['samples']:,} samples, "
        f"{counts['members']:,} members, {read:.3f} GB at level {options.level} in {seconds:.1f} s "
        f"({counts['samples'] / seconds:,.0f} samples/s, {read / seconds:.2f} GB/s)"
    )
    if not options.is_whole:
        print(f"part {options.part}: keys were compared within this part alone")
    errors, warnings = report.count("error"), report.count("warning")
    print(f"{errors:,} errors, {warnings:,} warnings", flush=True)
    for row in report.table():
        print(row)
    if options.report is not None:
        summary = report.write(options.report, _about(options))
        print(f"every defect: {options.report}; summary: {summary}")
        return
    shown = list(report.first())
    for line in shown:
        print(line)
    if errors + warnings > len(shown):
        print(f"and {errors + warnings - len(shown):,} more; --report FILE writes them all")


def _about(options: Validate) -> dict[str, Any]:
    names = ("level", "part", "max_bad", "max_pixels", "max_caption")
    return {name: getattr(options, name) for name in names}
