"""`repair`: the good samples of damaged shards, byte for byte, in new shards of the same names."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data_tools.annotate import conserved
from data_tools.defects.mending import Job, finished, repair_shard
from data_tools.defects.samples import Checks
from data_tools.engine import Options, Run, own_part
from data_tools.samples import find_shards
from vlp.data.files import write_json
from vlp.data.images import MAX_PIXELS
from vlp.data.leftovers import remove_leftovers, replace_tidily
from vlp.errors import InputError, RunError

_TOOL = "vlp data_tools repair"
_SETTINGS = "repair.json"
_LEDGER = "repair.jsonl"
_ALREADY = "already"  # among the counts of a shard that an earlier run finished


@dataclass(frozen=True, kw_only=True)
class Repair(Options):
    """Write what is good in damaged shards as new shards, with a ledger of all that is not.

    The sources are never touched. Draws nothing.

    Args:
        shards: tars, folders of tars, or patterns such as 'data/{00000..00099}.tar'.
        output: folder of the new shards, of repair.jsonl with a line for each member that was
            dropped, renamed or fixed, and of the index.
        fix_text: mend captions (encoding, byte-order mark, NUL, normal form, HTML entities) instead
            of dropping their samples; each mended one is in the ledger.
        level: members keeps pictures whose header is good; decode those alone that decode.
        max_pixels: of a picture, by its header.
        restart: replace what an earlier run wrote with other settings.
    """

    shards: list[str]
    output: Path
    fix_text: bool = False
    level: Literal["members", "decode"] = "decode"
    max_pixels: int = MAX_PIXELS
    restart: bool = False


def repair(options: Repair) -> None:
    """Run the command.

    Raises:
        InputError: nothing matches, or `output` holds something else.
        RunError: a shard could not be repaired, or not one sample is left.
    """
    shards = find_shards(options.shards)
    jobs = _jobs(shards, options)
    _check_output(shards, jobs, options)
    own = own_part(jobs, options)
    work = repair_shard if options.restart else _resume_shard
    run: Run[Job, Counter[str]] = Run(
        work, own, options, what="repairing", name=lambda job: str(job.shard)
    )
    done = dict(run)
    already = sum(counts.pop(_ALREADY, 0) for counts in done.values())
    if already:
        print(f"{already:,} of {len(own):,} shards are finished already")
    _report(sum(done.values(), Counter()), len(done))
    _join_ledgers(jobs, options)
    run.finish()
    if own and not any(counts["samples/kept"] for counts in done.values()):
        raise RunError("not one sample could be kept; the reasons are above")


def _jobs(shards: Sequence[Path], options: Repair) -> list[Job]:
    checks = Checks(level=options.level, max_pixels=options.max_pixels)
    settings = json.dumps(_settings(options), sort_keys=True)
    return [Job(shard, options.output, checks, options.fix_text, settings) for shard in shards]


def _settings(options: Repair) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("fix_text", "level", "max_pixels")}


def _check_output(shards: Sequence[Path], jobs: Sequence[Job], options: Repair) -> None:
    """Refuse to write over a source, or into a folder of other data; take the folder otherwise."""
    output = options.output
    if output.resolve() in {shard.resolve().parent for shard in shards}:
        raise InputError(f"--output {output}: the shards lie there; choose another folder")
    targets: dict[Path, Path] = {}
    for shard, job in zip(shards, jobs, strict=True):
        other = targets.setdefault(job.target, shard)
        if other != shard:
            raise InputError(f"{shard} and {other}: both become {job.target}; repair them apart")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {output}: {error.strerror}") from None
    mark = output / _SETTINGS
    if not mark.exists():
        others = sorted(path.name for path in output.iterdir() if path.name[0] != ".")
        if others:
            raise InputError(
                f"--output {output}: holds {', '.join(others[:5])}, which this command did not "
                "write; choose an empty folder"
            )
    elif not options.restart:
        _check_same(mark, options)
    remove_leftovers(mark)
    write_json(mark, {"tool": _TOOL, "settings": _settings(options)})


def _check_same(mark: Path, options: Repair) -> None:
    try:
        old = json.loads(mark.read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{mark}: cannot be read ({error}); choose an empty folder") from None
    new = _settings(options)
    differing = [
        f"{name} was {old.get(name)!r}, is {value!r}"
        for name, value in new.items()
        if old.get(name) != value
    ]
    if differing:
        raise InputError(
            f"{options.output} was repaired otherwise: {'; '.join(differing)}; give the old "
            "settings, another --output, or --restart to replace it"
        )


def _resume_shard(job: Job) -> Counter[str]:
    """Repair a shard, unless an earlier run did: to see that takes reading all its bytes."""
    counts = finished(job)
    return repair_shard(job) if counts is None else counts | Counter({_ALREADY: 1})


def _report(counts: Counter[str], shards: int) -> None:
    """Print what became of everything that was found, and check that it adds up."""
    print(f"{shards:,} shards")
    for unit in ("samples", "members", "bytes"):
        prefix = f"{unit}/"
        first = {"members" if unit == "bytes" else "kept": 0}
        parts = first | {
            name.removeprefix(prefix): count
            for name, count in sorted(counts.items())
            if name.startswith(prefix)
        }
        named = {_named(name, unit): parts[name] for name in sorted(parts, key=_kept_first)}
        print(conserved(counts[unit], named, unit))
    changed = ", ".join(f"{counts[name]:,} {name}" for name in ("regrouped", "renamed", "fixed"))
    print(f"members changed: {changed}", flush=True)


def _kept_first(name: str) -> tuple[bool, str]:
    return name not in ("kept", "members"), name


def _named(name: str, unit: str) -> str:
    if unit == "bytes" or name == "kept":
        return name
    return f"dropped ({name})"


def _join_ledgers(jobs: Sequence[Job], options: Repair) -> None:
    """One ledger of all shards in their order, when the last of them is finished."""
    if not all(job.ledger.is_file() for job in jobs):
        print(f"other shards are still to come; {_LEDGER} is written with the last of them")
        return
    path = options.output / _LEDGER

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            for job in jobs:
                file.write(job.ledger.read_bytes())

    replace_tidily(path, write)
    print(f"every change: {path}", flush=True)
