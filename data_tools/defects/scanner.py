"""One shard from its first to its last byte: all its defects, and what was counted."""

import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_tools.defects.beside import Tally, check_beside
from data_tools.defects.grouping import Aside, Run, group
from data_tools.defects.names import Problem
from data_tools.defects.samples import MOST_BYTES, READ, Checks, check_sample, missing
from data_tools.defects.walk import Gap, Walk
from vlp.data.index import IMAGE_EXTENSIONS

_DIGEST = 16  # bytes of a key's hash
_NO_TAR = ("FILE_EMPTY", "NOT_A_TAR", "TAR_GZIPPED")
_LOSE_NOTHING = (
    "TAR_CONCATENATED",
    "TAR_GARBAGE_AFTER_END",
    "TAR_SHORT_END_MARK",
    "TAR_ZEROS_TO_END",
)


@dataclass(frozen=True)
class Defect:
    """One line of a report; `offset` in bytes from the start of the tar, -1 without a place."""

    key: str
    code: str
    detail: str
    offset: int = -1


@dataclass(frozen=True)
class Job:
    """A shard to be checked."""

    shard: Path
    checks: Checks


@dataclass(frozen=True)
class Checked:
    """What was found in a shard. `digests`: 16 bytes for each key, in the order of the tar."""

    defects: list[Defect]
    counts: Counter[str]
    digests: bytes


def check_shard(job: Job) -> Checked:
    """All defects of a shard, by their place; a file that cannot be read is one too."""
    try:
        file = os.open(job.shard, os.O_RDONLY)
        try:
            return _Scan(file, job).run()
        finally:
            os.close(file)
    except OSError as error:
        defect = Defect("", "FILE_UNREADABLE", error.strerror or str(error))
        return Checked([defect], Counter(shards=1), b"")


def key_digest(key: str) -> bytes:
    """128 bits of a key, by which it is compared with those of other shards."""
    return hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=_DIGEST).digest()


def find_keys(shard: Path, digests: set[bytes]) -> Iterator[tuple[str, int, bytes]]:
    """(key, offset, digest) of the samples whose keys have these digests, each once."""
    left = set(digests)
    file = os.open(shard, os.O_RDONLY)
    try:
        for piece in group(Walk(file)):
            if isinstance(piece, Run) and (digest := key_digest(piece.key)) in left:
                left.remove(digest)
                yield piece.key, piece.start, digest
    finally:
        os.close(file)


@dataclass
class _Samples:
    """Every key with its place and its extensions, in little memory."""

    rows: dict[str, int] = field(default_factory=dict)
    starts: "array[int]" = field(default_factory=lambda: array("q"))
    kinds: "array[int]" = field(default_factory=lambda: array("L"))
    sets: list[frozenset[str]] = field(default_factory=list)
    _ids: dict[frozenset[str], int] = field(default_factory=dict)

    def add(self, run: Run) -> frozenset[str]:
        """Returns the extensions that the key had before."""
        row = self.rows.setdefault(run.key, len(self.rows))
        if row == len(self.starts):
            self.starts.append(run.start)
            self.kinds.append(self._id(frozenset(run.extensions())))
            return frozenset()
        before = self.sets[self.kinds[row]]
        self.kinds[row] = self._id(before.union(run.extensions()))
        return before

    def usual(self) -> frozenset[str]:
        """The extensions that more than half of the samples have."""
        counts = Counter[str]()
        for kind, times in Counter(self.kinds).items():
            counts.update(dict.fromkeys(self.sets[kind], times))
        return frozenset(name for name, times in counts.items() if times * 2 > len(self.rows))

    def _id(self, extensions: frozenset[str]) -> int:
        found = self._ids.setdefault(extensions, len(self.sets))
        if found == len(self.sets):
            self.sets.append(extensions)
        return found


class _Scan:
    def __init__(self, file: int, job: Job) -> None:
        self._file = file
        self._shard, self._checks = job.shard, job.checks
        self._reads = job.checks.reaches("members")
        self._defects: list[Defect] = []
        self._counts = Counter(shards=1)
        self._samples = _Samples()
        self._members = Tally()
        self._last_key = ""
        self._is_after_gap = False
        self._beside_gap: set[str] = set()  # keys whose neighbouring bytes are damaged

    def run(self) -> Checked:
        walk = Walk(self._file, thorough=self._reads)
        for piece in group(walk):
            if isinstance(piece, Run):
                self._run(piece)
            elif isinstance(piece, Gap):
                self._gap(piece)
            elif isinstance(piece, Aside):
                self._aside(piece)
        self._whole(walk.total)
        self._defects.sort(key=lambda defect: defect.offset)  # stable
        digests = b"".join(map(key_digest, self._samples.rows))
        return Checked(self._defects, self._counts, digests)

    def _add(self, key: str, offset: int, problem: Problem) -> None:
        self._defects.append(Defect(key, problem.code, problem.detail, offset))

    def _gap(self, gap: Gap) -> None:
        last = self._last_key
        after = f"; last good key: {last or 'none'}"
        self._add(last, gap.start, Problem(gap.code, gap.detail + after))
        self._counts["damaged_bytes"] += gap.end - gap.start
        if gap.code in _LOSE_NOTHING:
            return
        self._beside_gap.add(last)
        self._is_after_gap = True

    def _aside(self, aside: Aside) -> None:
        if aside.problem is None:
            self._counts["folders"] += 1
            return
        self._counts["members"] += 1
        self._counts["passed_members"] += 1
        self._add("", aside.entry.start, aside.problem)

    def _run(self, run: Run) -> None:
        self._counts["members"] += len(run.parts)
        before = self._samples.add(run)
        if before and not (self._is_after_gap and run.key == self._last_key):
            self._again(run, before)
        if self._is_after_gap:
            self._beside_gap.add(run.key)
        self._last_key, self._is_after_gap = run.key, False
        if run.dotted:
            shown = run.parts[0].entry.name.decode("utf-8", "backslashreplace")
            read = run.key.rpartition("/")[2].partition(".")[0]
            problem = Problem("KEY_DOTTED", f"{shown!r} is read as a member of {read!r}")
            self._add(run.key, run.start, problem)
        for part in run.parts:
            self._members.add(part)
            for problem in part.problems:
                self._add(run.key, part.entry.start, problem)
            if not part.entry.size and not self._reads and part.extension in IMAGE_EXTENSIONS:
                empty = Problem("IMAGE_EMPTY", f".{part.extension} has 0 bytes")
                self._add(run.key, part.entry.start, empty)
        if self._reads:
            self._content(run)

    def _again(self, run: Run, before: frozenset[str]) -> None:
        twice = sorted(before.intersection(run.extensions()))
        if run.repeats:
            problem = Problem("DUPLICATE_MEMBER", f".{', .'.join(twice)} twice")
        elif twice:
            problem = Problem("DUPLICATE_KEY", f"comes back with .{', .'.join(twice)}")
        else:
            told = f".{', .'.join(run.extensions())} apart from .{', .'.join(sorted(before))}"
            problem = Problem("INTERLEAVED", told)
        self._add(run.key, run.start, problem)

    def _content(self, run: Run) -> None:
        places, members = {"": run.start}, dict[str, bytes]()
        for extension, entry, _ in run.parts:
            places[extension] = entry.start
            if entry.size > MOST_BYTES and extension in READ:
                told = Problem("MEMBER_TOO_LARGE", f".{extension} has {entry.size:,} bytes")
                self._add(run.key, entry.start, told)
                return
            if extension in READ:
                members[extension] = os.pread(self._file, entry.size, entry.data)
        if "txt" in members:
            self._members.caption(run.key, members["txt"])
        for extension, problem in check_sample(run.key, members, self._checks):
            self._add(run.key, places[extension], problem)

    def _whole(self, total: int) -> None:
        """What is seen when all samples are known."""
        samples = self._samples
        usual = samples.usual()
        for (key, _), start, kind in zip(
            samples.rows.items(), samples.starts, samples.kinds, strict=True
        ):
            self._lacks(key, start, samples.sets[kind], usual)
        self._counts["samples"] = len(samples.rows)
        self._counts["bytes"] = total
        if not samples.rows and not any(defect.code in _NO_TAR for defect in self._defects):
            code = "NO_SAMPLES" if self._counts["members"] else "NO_MEMBERS"
            self._add("", 0, Problem(code, f"{self._counts['members']} members"))
        is_damaged = bool(self._counts["damaged_bytes"])
        tally = self._members.close(samples.rows, total, is_damaged)
        for problem in check_beside(self._shard, tally, self._checks):
            self._add("", -1, problem)

    def _lacks(
        self, key: str, start: int, extensions: frozenset[str], usual: frozenset[str]
    ) -> None:
        problems = list(missing(extensions))
        lacking = sorted(usual - extensions)
        if lacking and key in self._beside_gap:
            told = f"has .{', .'.join(sorted(extensions))}; others also .{', .'.join(lacking)}"
            self._add(key, start, Problem("SAMPLE_CUT", told))
            return
        if lacking and not any(problem.code.startswith("MISSING") for problem in problems):
            told = f"no .{', .'.join(lacking)}, which most samples have"
            problems.append(Problem("MISSING_MEMBER", told))
        for problem in problems:
            self._add(key, start, problem)
