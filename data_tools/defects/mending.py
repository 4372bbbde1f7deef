"""One shard repaired: its good samples, byte for byte, in a new tar with all that belongs to it."""

import hashlib
import json
import os
import platform
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data_tools.building.shard_writer import stats_path
from data_tools.defects.adapted_table import adapt_table
from data_tools.defects.codes import is_error
from data_tools.defects.grouping import Part
from data_tools.defects.ledger import Ledger
from data_tools.defects.names import Problem
from data_tools.defects.pictures import right_extension
from data_tools.defects.plan import Planned, plan
from data_tools.defects.samples import MOST_BYTES, READ, Checks, check_sample, missing
from data_tools.defects.texts import mend_bytes, mend_json
from data_tools.defects.walk import Gap
from vlp.data.files import replace_atomically, write_json
from vlp.data.index import IMAGE_EXTENSIONS, sidecar_path, write_index
from vlp.data.leftovers import remove_leftovers
from vlp.data.tar import write_tar

_GZIP = b"\x1f\x8b"
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Job:
    """A shard to be repaired. `settings` decide, with the source, every byte of the result."""

    shard: Path
    folder: Path
    checks: Checks
    fix_text: bool
    settings: str  # JSON

    @property
    def target(self) -> Path:
        """The shard that is written."""
        name = self.shard.name
        return self.folder / (name if name.endswith(".tar") else f"{name.partition('.')[0]}.tar")

    @property
    def ledger(self) -> Path:
        """Its changes."""
        return sidecar_path(self.target, "repair").with_suffix(".jsonl")


def repair_shard(job: Job) -> Counter[str]:
    """Write one shard with its index, table and ledger, and the commit mark last."""
    source = _source_sha256(job.shard)
    ledger = Ledger(job.shard.name)
    unpacked = job.target.with_name(f"{job.target.name}.unpacked")
    _remove_temporaries(job, unpacked)
    unpacked = unpacked.with_name(f".{unpacked.name}.{platform.node()}.{os.getpid()}.tmp")
    try:
        file = os.open(_unpack(job.shard, unpacked, ledger), os.O_RDONLY)
        try:
            samples = _samples(file, plan(file, ledger), job, ledger)
            sha256 = replace_atomically(job.target, lambda path: write_tar(path, samples))
        finally:
            os.close(file)
    finally:
        unpacked.unlink(missing_ok=True)
    counts = ledger.counts
    counts["samples/kept"] = write_index(job.target)
    counts["members/kept"] = _indexed_members(job.target)
    _write_table(job, ledger)
    ledger.write(job.ledger)
    _write_mark(job, counts, source, sha256)
    return counts


def finished(job: Job) -> Counter[str] | None:
    """The counts of a shard that an earlier run finished from the same bytes and settings."""
    try:
        mark = json.loads(stats_path(job.target).read_text(encoding="utf-8"))
        whole = job.target.stat().st_size == mark["bytes"]
        same = mark["settings"] == job.settings and mark["source_sha256"] == _source_sha256(
            job.shard
        )
        counts = Counter(mark["repair"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    there = sidecar_path(job.target, "index").is_file() and job.ledger.is_file()
    return counts if whole and same and there else None


def _source_sha256(shard: Path) -> str:
    digest = hashlib.sha256()
    for path in (shard, shard.with_suffix(".parquet")):
        if path.exists():
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _remove_temporaries(job: Job, unpacked: Path) -> None:
    """Remove what a killed run left half written."""
    target = job.target
    index, stats = sidecar_path(target, "index"), stats_path(target)
    for path in (target, unpacked, target.with_suffix(".parquet"), stats, index, job.ledger):
        remove_leftovers(path)


def _unpack(shard: Path, target: Path, ledger: Ledger) -> Path:
    """The tar itself, or what gzip packed, as far as that can be read."""
    with open(shard, "rb") as file:
        if file.read(2) != _GZIP:
            return shard
    told = "unpacked"
    with open(target, "wb") as file:
        try:
            for chunk in _unpacked(shard):
                file.write(chunk)
        except zlib.error as error:
            told = f"unpacked as far as it can be: {error}"
    ledger.gap(Gap("TAR_GZIPPED", 0, 0, told), "unpacked")
    return target


def _unpacked(shard: Path) -> Iterator[bytes]:
    """What gzip packed, in pieces, up to where the file ends or is damaged."""
    unpacker = zlib.decompressobj(_GZIP_FORMAT)
    with open(shard, "rb") as packed:
        data = packed.read(_CHUNK)
        while data:
            yield unpacker.decompress(data, _CHUNK)
            data = unpacker.unconsumed_tail
            if unpacker.eof:
                data, unpacker = unpacker.unused_data, zlib.decompressobj(_GZIP_FORMAT)
            data = data or packed.read(_CHUNK)
    yield unpacker.flush()


def _samples(
    file: int, planned: list[Planned], job: Job, ledger: Ledger
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples that are good, or can be made so; the others go into the ledger."""
    for sample in planned:
        changes = list[tuple[Part, Problem, str, str]]()
        members = _read(file, sample)
        if members is not None and job.fix_text:
            _fix_texts(sample, members, changes)
        wrong = _wrong(sample, members, job.checks)
        if wrong is not None or members is None:
            large = Problem("MEMBER_TOO_LARGE", f"over {MOST_BYTES:,} bytes")
            ledger.drop_sample(sample.read_key, sample.parts, wrong or large)
            continue
        written = _rename(sample, members, changes)
        for part, problem, action, extension in changes:
            ledger.change(sample.read_key, part, problem, action, f"{sample.key}.{extension}")
        ledger.fates[sample.read_key] = sample.key
        yield sample.key, written


def _read(file: int, sample: Planned) -> dict[str, bytes] | None:
    if any(p.entry.size > MOST_BYTES and p.extension in READ for p in sample.parts):
        return None
    return {
        part.extension: os.pread(file, part.entry.size, part.entry.data) for part in sample.parts
    }


def _wrong(sample: Planned, members: dict[str, bytes] | None, checks: Checks) -> Problem | None:
    if members is None:
        return None
    problems = list(missing(members))
    problems += [problem for _, problem in check_sample(sample.key, members, checks)]
    return next((problem for problem in problems if is_error(problem.code)), None)


def _fix_texts(
    sample: Planned, members: dict[str, bytes], changes: list[tuple[Part, Problem, str, str]]
) -> None:
    for part in sample.parts:
        if part.extension not in ("txt", "json"):
            continue
        before = members[part.extension]
        after, codes = mend_bytes(before) if part.extension == "txt" else mend_json(before)
        members[part.extension] = after
        for code in codes:
            detail = f"{before[:60]!r} -> {after[:60]!r}" if part.extension == "txt" else "a text"
            changes.append((part, Problem(code, detail), "fixed", part.extension))


def _rename(
    sample: Planned, members: dict[str, bytes], changes: list[tuple[Part, Problem, str, str]]
) -> dict[str, bytes]:
    """The members by the extensions that they are written with."""
    written: dict[str, bytes] = {}
    for part in sample.parts:
        extension = part.extension
        reasons = [problem for problem in part.problems if problem.code == "NAME_UPPER_CASE"]
        reasons += sample.problems
        if extension in IMAGE_EXTENSIONS:
            right = right_extension(extension, members[extension])
            if right != extension and right not in members:
                reasons.append(Problem("IMAGE_WRONG_EXTENSION", f".{extension} is a .{right}"))
                extension = right
        written[extension] = members[part.extension]
        for reason in reasons:
            changes.append((part, reason, "renamed", extension))
    return written


def _indexed_members(shard: Path) -> int:
    return sum(map(len, pq.read_table(sidecar_path(shard, "index"))["ext"].to_pylist()))


def _write_table(job: Job, ledger: Ledger) -> None:
    source, target = job.shard.with_suffix(".parquet"), job.target.with_suffix(".parquet")
    if source.is_file():
        replace_atomically(target, lambda path: adapt_table(source, path, ledger))


def _write_mark(job: Job, counts: Counter[str], source: str, sha256: str) -> None:
    prefix = "samples/"
    statuses = {
        name.removeprefix(prefix): count for name, count in counts.items() if prefix in name
    }
    mark: dict[str, Any] = {
        "count": counts["samples"],
        "successes": counts["samples/kept"],
        "status_dict": {"success": statuses.pop("kept"), **statuses},
        "bytes": job.target.stat().st_size,
        "sha256": sha256,
        "settings": job.settings,
        "source_sha256": source,
        "repair": dict(counts),
    }
    write_json(stats_path(job.target), mark)
