"""Which samples of a damaged shard can be kept, of which members, and under which keys."""

import hashlib
import os
from dataclasses import dataclass

from data_tools.defects.grouping import Aside, Part, Run, group
from data_tools.defects.ledger import Ledger
from data_tools.defects.names import Problem, safe_key
from data_tools.defects.samples import MOST_BYTES
from data_tools.defects.walk import End, Gap, Walk

_LONGEST = 100  # bytes of a name in a plain tar header
_KEY_CODES = ("NAME_ABSOLUTE", "NAME_PARENT", "NAME_NOT_UTF8", "NAME_CONTROL", "NAME_TOO_LONG")


@dataclass
class Planned:
    """A sample to be written."""

    read_key: str
    key: str
    parts: list[Part]
    problems: list[Problem]  # why the key is another

    def extensions(self) -> list[str]:
        """In the order of the tar."""
        return [part.extension for part in self.parts]


def plan(file: int, ledger: Ledger) -> list[Planned]:
    """The samples of a tar as far as names and places tell; what is left out is in the ledger.

    Members of a sample that lie apart are put together. A key that comes back with a member that it
    has already is another sample, or a copy: what came first is kept.
    """
    samples: dict[str, Planned] = {}
    walk = Walk(file, thorough=True)
    counts = ledger.counts
    for piece in group(walk):
        if isinstance(piece, Gap):
            counts["bytes/skipped"] += piece.end - piece.start
            ledger.gap(piece)
        elif isinstance(piece, End):
            counts["bytes/end marks"] += piece.end - piece.start
        elif isinstance(piece, Aside):
            _leave_aside(piece, ledger)
        else:
            counts["members"] += len(piece.parts)
            counts["bytes/members"] += sum(e.end - e.start for _, e, _ in piece.parts)
            _take(file, piece, samples, ledger)
    counts["bytes"] += walk.total
    counts["samples"] += len(samples)
    _choose_keys(samples)
    return list(samples.values())


def _leave_aside(aside: Aside, ledger: Ledger) -> None:
    ledger.counts["bytes/members"] += aside.entry.end - aside.entry.start
    if aside.problem is None:
        ledger.counts["folders"] += 1
        return
    ledger.counts["members"] += 1
    ledger.drop_member("", aside.entry, aside.problem)


def _take(file: int, run: Run, samples: dict[str, Planned], ledger: Ledger) -> None:
    first = samples.get(run.key)
    if first is None:
        samples[run.key] = Planned(run.key, run.key, list(run.parts), _key_problems(run))
        return
    there = {part.extension: part for part in first.parts}
    again = [part for part in run.parts if part.extension in there]
    code = "DUPLICATE_MEMBER" if run.repeats else "DUPLICATE_KEY"
    if not all(_are_equal(file, part, there[part.extension]) for part in again):
        # which of the two the other members belong to cannot be known
        ledger.counts["samples"] += 1
        ledger.drop_sample(run.key, run.parts, Problem(code, "the first one is kept"))
        return
    for part in run.parts:
        if part in again:
            ledger.drop_member(run.key, part.entry, Problem(code, "equal to the first one"))
        else:
            apart = Problem("INTERLEAVED", "put to its sample")
            ledger.change(run.key, part, apart, "regrouped", f"{run.key}.{part.extension}")
            first.parts.append(part)


def _are_equal(file: int, one: Part, other: Part) -> bool:
    if one.entry.size != other.entry.size or one.entry.size > MOST_BYTES:
        return False
    first, second = (os.pread(file, p.entry.size, p.entry.data) for p in (one, other))
    return first == second


def _key_problems(run: Run) -> list[Problem]:
    told = {problem.code: problem for part in run.parts for problem in part.problems}
    problems = [problem for code, problem in told.items() if code in _KEY_CODES]
    if run.dotted:
        problems.append(Problem("KEY_DOTTED", repr(run.key)))
    return problems


def _choose_keys(samples: dict[str, Planned]) -> None:
    """Keys that must change get one that no other sample has."""
    taken = {sample.key for sample in samples.values() if not sample.problems}
    for sample in samples.values():
        if not sample.problems:
            continue
        base = _short(safe_key(sample.key) or "unnamed", sample)
        key, number = base, 2
        while key in taken:
            key, number = f"{base}_{number}", number + 1
        taken.add(key)
        sample.key = key


def _short(key: str, sample: Planned) -> str:
    """A key with room for the longest extension and a number behind it."""
    room = _LONGEST - max(len(name.encode()) for name in sample.extensions()) - 8
    if len(key.encode()) <= room:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    return f"{key.encode()[: max(room - 9, 1)].decode(errors='ignore').rstrip('/')}-{digest}"
