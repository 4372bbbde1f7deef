"""One shard as it is exported, its commit mark, and the folder that all go to.

The marks are in the hidden folder `.export`, which no reader of the formats looks into.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_tools.exporting.reading import Dropped, Sample, read_shard
from vlp.data.files import encode, replace_atomically, write_json, write_text
from vlp.data.index import sidecar_path
from vlp.data.leftovers import remove_leftovers_in
from vlp.errors import InputError

MARKS, PICTURES, DATA = ".export", "images", "data"  # folders
SIZES, TABLE, ANNOTATIONS, CARD = "sizes.json", "captions.tsv", "annotations.jsonl", "README.md"
FILES = (SIZES, TABLE, ANNOTATIONS, CARD)
_SETTINGS = "settings.json"
_DROPPED = "dropped.jsonl"


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything a worker needs to export one shard."""

    shard: Path
    name: str  # of the shard, for ledgers
    number: int
    total: int
    output: Path
    settings_sha256: str
    keep: tuple[str, ...]
    sidecars: tuple[str, ...]
    choose: str | None
    seed: int
    split: str
    columns: pa.Schema  # of the format hf

    @property
    def stem(self) -> str:
        return f"{self.number:05d}"

    def __str__(self) -> str:
        return str(self.shard)

    def path(self, name: str) -> Path:
        """A file of the shard in the hidden folder."""
        return self.output / MARKS / f"{self.stem}.{name}"


class Tally:
    """Gives the samples of a job, counts them, and keeps what is dropped."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.counts: Counter[str] = Counter()
        self._lines: list[str] = []

    def __iter__(self) -> Iterator[tuple[int, Sample]]:
        """(row of the index, sample)"""
        job = self.job
        for place, sample in enumerate(read_shard(job.shard, job.keep, job.sidecars)):
            self.counts["samples"] += 1
            if isinstance(sample, Dropped):
                self.counts[f"dropped ({sample.reason})"] += 1
                line = {"shard": job.name, **vars(sample)}
                self._lines.append(json.dumps(line, ensure_ascii=False) + "\n")
            else:
                self.counts["exported"] += 1
                yield place, sample

    def close(self, files: Sequence[Path]) -> Counter[str]:
        """Write the ledger and the mark, when all of the shard is written."""
        job = self.job
        write_text(job.path(_DROPPED), "".join(self._lines))
        mark = {
            "settings_sha256": job.settings_sha256,
            "input_sha256": _input_sha256(job),
            "files": {
                str(path.relative_to(job.output)): path.stat().st_size
                for path in (*files, job.path(_DROPPED))
            },
            "counts": dict(self.counts),
        }
        write_json(job.path("json"), mark)
        return self.counts


def finished(job: Job) -> Counter[str] | None:
    """The counts of a shard that an earlier run exported from the same input."""
    try:
        mark = json.loads(job.path("json").read_text(encoding="utf-8"))
        is_whole = all((job.output / n).stat().st_size == size for n, size in mark["files"].items())
        same = [mark[name] for name in ("settings_sha256", "input_sha256")]
        counts = Counter(mark["counts"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return counts if is_whole and same == [job.settings_sha256, _input_sha256(job)] else None


def open_folder(output: Path, settings: Mapping[str, Any], restart: bool) -> None:
    """Make sure that a folder is, or may become, that of these settings.

    Raises:
        InputError: it holds something else, or was exported otherwise and `restart` is False.
    """
    path = output / MARKS / _SETTINGS
    told = dict(settings)
    if path.is_file() and restart:
        _remove_own(output)
    elif path.is_file():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
            names = sorted(set(old) | set(told))
            differing = [
                f"{name} was {old.get(name)!r}, is {told.get(name)!r}"
                for name in names
                if json.dumps(old.get(name)) != json.dumps(told.get(name))
            ]
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: cannot be read ({error}); --restart replaces it") from None
        if differing:
            raise InputError(
                f"{output} was exported otherwise: {'; '.join(differing)}; give the old settings, "
                "another --output, or --restart to replace it"
            )
    else:
        others = sorted(entry.name for entry in output.iterdir() if entry.name[0] != ".")
        if others:
            raise InputError(
                f"--output {output}: holds {', '.join(others[:5])}, which this command did not "
                "write; choose an empty folder"
            )
    write_json(path, told)


def tidy(output: Path) -> None:
    """Remove what killed runs left half written."""
    for folder in (output, output / MARKS, output / DATA):
        remove_leftovers_in(folder)


def _remove_own(output: Path) -> None:
    """Remove what an earlier run wrote; the settings, which say whose it is, go last."""
    for path in output.glob("[0-9][0-9][0-9][0-9][0-9].tar"):
        path.unlink()
    for name in FILES:
        (output / name).unlink(missing_ok=True)
    for name in (PICTURES, DATA, MARKS):
        shutil.rmtree(output / name, ignore_errors=True)


def join_ledgers(jobs: Sequence[Job]) -> Path:
    """One ledger of what is dropped, of all shards in their order."""
    path = jobs[0].output / MARKS / _DROPPED
    join_pieces(path, [job.path(_DROPPED) for job in jobs])
    return path


def join_pieces(path: Path, pieces: Sequence[Path], head: str = "") -> None:
    """Write a file of the pieces of all shards."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            file.write(encode(head))
            for piece in pieces:
                file.write(piece.read_bytes())

    replace_atomically(path, write)


def _input_sha256(job: Job) -> str:
    digest = hashlib.sha256(f"{job.shard.stat().st_size}".encode())
    for name in ("index", *job.sidecars, *job.keep):
        path = sidecar_path(job.shard, name)
        digest.update(f"\n{name}\n".encode())
        if path.is_file():
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
