"""Pictures of evaluation sets, from which training data is to be kept apart."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_tools.building.folders import PICTURE_SUFFIXES
from data_tools.deduplication.signatures import SIGN, WORDS, By, Signature
from data_tools.engine import Options, Run
from data_tools.samples import find_shards
from vlp.data.images import UnreadableImageError
from vlp.data.index import IMAGE_EXTENSIONS, group_members
from vlp.errors import InputError

_FILES_OF_A_JOB = 256


@dataclass(frozen=True)
class References:
    """Pictures to keep away from: their names, and what they are compared by, [n, ...]."""

    names: Sequence[str]
    values: np.ndarray
    unreadable: int = 0


@dataclass(frozen=True)
class _Job:
    """A tar, or some picture files."""

    files: tuple[Path, ...]
    by: By

    def __str__(self) -> str:
        return str(self.files[0])


@dataclass
class _Signed:
    names: list[str] = field(default_factory=list)
    signatures: list[Signature] = field(default_factory=list)
    unreadable: int = 0


def read_references(places: Sequence[str], by: By, options: Options) -> References:
    """The signatures of every picture in tars of any WebDataset layout, and in folders.

    Raises:
        InputError: nothing is there, or there is no picture in it.
        RunError: a tar or a picture file cannot be read.
    """
    jobs = [job for place in places for job in _jobs(place, by)]
    run: Run[_Job, _Signed] = Run(_sign, jobs, options, what="hashing evaluation pictures")
    signed = run.results()
    run.finish()
    names = [name for one in signed for name in one.names]
    if not names:
        raise InputError(f"--against {' '.join(places)}: no readable picture in it")
    words = [signature for one in signed for signature in one.signatures]
    values = np.array(words, np.uint64).reshape(-1, WORDS[by])
    return References(names, values, sum(one.unreadable for one in signed))


def tars_below(place: str) -> list[Path]:
    """The tars that a place stands for: named, matched, or anywhere below a folder."""
    folder = Path(place)
    if folder.is_dir():
        return sorted(f for f in folder.rglob("*.tar") if not f.name.startswith("."))
    return find_shards([place])


def _jobs(place: str, by: By) -> list[_Job]:
    folder = Path(place)
    jobs = [_Job((tar,), by) for tar in tars_below(place)]
    if folder.is_dir():
        pictures = sorted(f for f in folder.rglob("*") if _is_picture(f))
        starts = range(0, len(pictures), _FILES_OF_A_JOB)
        jobs += [_Job(tuple(pictures[s : s + _FILES_OF_A_JOB]), by) for s in starts]
    if not jobs:
        raise InputError(f"--against {place}: neither tars nor pictures are below it")
    return jobs


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in PICTURE_SUFFIXES and not file.name.startswith(".")


def _sign(job: _Job) -> _Signed:
    signed = _Signed()
    for name, data in _pictures(job.files):
        try:
            signature = SIGN[job.by](data)
        except UnreadableImageError:
            signed.unreadable += 1
            continue
        signed.names.append(name)
        signed.signatures.append(signature)
    return signed


def _pictures(files: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        if file.suffix != ".tar":
            yield str(file), file.read_bytes()
            continue
        with open(file, "rb") as tar:
            for key, members in group_members(file).items():
                for extension in IMAGE_EXTENSIONS:
                    if extension in members:
                        tar.seek(members[extension].offset)
                        yield f"{file}:{key}", tar.read(members[extension].size)
