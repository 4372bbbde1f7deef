"""`index`: index sidecars for tars that something else wrote."""

import glob
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import braceexpand

from data_tools.errors import InputError, RunError
from data_tools.executor import run_jobs, worker_count
from data_tools.progress import bar
from vlp.data.files import is_text
from vlp.data.index import write_index
from vlp.data.tar import DamagedShardError


@dataclass(frozen=True, kw_only=True)
class Index:
    """Write the index that training reads beside tars that exist already.

    Args:
        shards: tars, folders of tars, or patterns such as 'data/{00000..00099}.tar' and
            'data/*.tar'.
        workers: processes; 0 is one for each core.
    """

    shards: list[str]
    workers: int = 0


@dataclass(frozen=True)
class _Outcome:
    samples: int = 0
    error: str = ""


def index(options: Index) -> None:
    """Run the command; damaged tars are named and passed over.

    Raises:
        InputError: nothing matches.
        RunError: some tars could not be indexed.
    """
    if options.workers < 0:
        raise InputError(f"--workers {options.workers}: expected 0 (one for each core) or more")
    shards = find_shards(options.shards)
    samples, failures = 0, 0
    with bar("indexing", "shards", len(shards)) as done:
        count = worker_count(options.workers, len(shards))
        for _, outcome in run_jobs(_index_one, shards, count, str):
            done.update()
            samples += outcome.samples
            failures += bool(outcome.error)
            if outcome.error:
                done.write(outcome.error, file=sys.stderr)
    print(
        f"{len(shards):,} shards = {len(shards) - failures:,} indexed + {failures:,} failed; "
        f"{samples:,} samples"
    )
    if failures:
        raise RunError(
            f"{failures:,} of {len(shards):,} shards have no index; they are named above"
        )


def find_shards(patterns: Sequence[str]) -> list[Path]:
    """The tars that folders, patterns and names stand for, each once, in the order given.

    Raises:
        InputError: a pattern that matches nothing, or is none.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        try:
            names = list(braceexpand.braceexpand(pattern))
        except ValueError as error:
            raise InputError(f"{pattern}: {error}") from None
        for name in names:
            paths = [name] if os.path.lexists(name) else sorted(glob.glob(name)) or [name]
            for path in map(Path, paths):
                found |= dict.fromkeys(_tars(path))
    return list(found)


def _tars(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such tar or folder")
    tars = sorted(file for file in path.iterdir() if file.suffix == ".tar" and file.name[0] != ".")
    if not tars:
        inside = sorted(file.name for file in path.iterdir())[:5]
        raise InputError(f"{path}: holds no .tar, but {', '.join(inside) or 'nothing'}")
    return tars


def _index_one(shard: Path) -> _Outcome:
    if not is_text(str(shard)):  # the parquet writer takes no such path
        return _Outcome(error=f"{str(shard)!r}: the path is not UTF-8; rename it")
    try:
        samples = write_index(shard)
    except DamagedShardError as error:
        return _Outcome(error=str(error))
    except OSError as error:
        return _Outcome(error=f"{shard}: {error.strerror or error}")
    return _Outcome(samples)
