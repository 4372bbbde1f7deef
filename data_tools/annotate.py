"""Sidecars made shard by shard: `annotations/NAME/SHARD.parquet`, each its own commit mark.

The parquet's metadata say by which recipe it was made, from which samples, and with what counts. A
run goes on from the sidecars that are there; one that another recipe made is not replaced unasked.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.engine import Options, Run, own_part
from data_tools.samples import source_sha256
from vlp.data.files import file_sha256
from vlp.data.index import sidecar_path
from vlp.data.leftovers import replace_tidily
from vlp.data.tar import DamagedShardError
from vlp.errors import InputError, RunError

Arguments = TypeVar("Arguments")

HEAD = [("key", pa.string()), ("src_sha256", pa.string())]
_RECIPE, _SOURCE, _INPUTS, _COUNTS = b"vlp_recipe", b"vlp_source", b"vlp_inputs", b"vlp_counts"


@dataclass(frozen=True, kw_only=True)
class SidecarOptions(Options):
    """What commands take that write a sidecar for each shard.

    Args:
        shards: tars, folders of tars, or patterns such as 'data/{00000..00099}.tar'.
        restart: replace what the command wrote earlier with other settings.
    """

    shards: list[str]
    restart: bool = False


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the content of a sidecar besides the shard."""

    name: str  # of the sidecar
    schema: pa.Schema  # `HEAD` first
    settings: Mapping[str, Any]  # as JSON
    inputs: tuple[str, ...] = ()  # other sidecars that are read; changed ones make this one stale
    what: str = "working"  # for the progress bar


@dataclass(frozen=True)
class Made:
    """The rows of one shard's sidecar, and what is to be added up over the shards."""

    rows: Sequence[Mapping[str, Any]] | pa.Table
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Annotated:
    """What a run left behind: the counts of its part's finished shards, and the failures."""

    counts: Counter[str]
    fresh: int  # shards that were made now
    run: Run[Path, Counter[str]]

    def finish(self) -> None:
        """Raises RunError if a shard failed."""
        self.run.finish()


def annotate(
    make: Callable[[Path, Arguments], Made],
    shards: Sequence[Path],
    recipe: Recipe,
    arguments: Arguments,
    options: SidecarOptions,
) -> Annotated:
    """Write the sidecar of every shard of this run's part that has none yet.

    Args:
        make: a function of a module: (shard, arguments) -> what its sidecar is to hold.

    Raises:
        InputError: a sidecar was made by another recipe, and `options.restart` is False.
    """
    own = own_part(shards, options)
    missing = unfinished(own, recipe, options.restart)
    if 0 < len(missing) < len(own):
        print(
            f"{len(own) - len(missing):,} of {len(own):,} shards are finished already", flush=True
        )
    work = partial(_make_one, make, recipe, arguments)
    run: Run[Path, Counter[str]] = Run(work, missing, options, what=recipe.what)
    counts = {shard: _counts(shard, recipe) for shard in set(own) - set(missing)}
    counts |= dict(run)
    return Annotated(sum(counts.values(), Counter()), len(missing), run)


def unfinished(shards: Sequence[Path], recipe: Recipe, restart: bool = False) -> list[Path]:
    """The shards whose sidecar is missing or stale, because captions or inputs have changed.

    Raises:
        InputError: a sidecar was made by another recipe, and `restart` is False.
    """
    return [shard for shard in shards if not _is_finished(shard, recipe, restart)]


def read_sidecar(shard: Path, name: str) -> pa.Table:
    """The sidecar of a shard.

    Raises:
        InputError: it is missing or no parquet file.
    """
    path = sidecar_path(shard, name)
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else f"unreadable ({error})"
        raise InputError(f"{shard}: the sidecar {path} is {reason}") from None


def write_sidecar(shard: Path, recipe: Recipe, made: Made) -> None:
    """Write one sidecar atomically, with its marks."""
    rows = made.rows
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, recipe.schema)
    marks = _marks(shard, recipe) | {_COUNTS: _json(dict(made.counts))}
    table = table.cast(recipe.schema).replace_schema_metadata(marks)
    path = sidecar_path(shard, recipe.name)
    replace_tidily(path, partial(pq.write_table, table))


def conserved(total: int, parts: Mapping[str, int], unit: str = "samples") -> str:
    """The balance of a command, as a line: "100 samples = 90 kept + 10 dropped".

    Raises:
        RunError: it does not add up.
    """
    shown = [
        f"{count:,} {name}"
        for place, (name, count) in enumerate(parts.items())
        if count or not place
    ]
    line = f"{total:,} {unit} = {' + '.join(shown)}"
    if total != sum(parts.values()):
        raise RunError(f"{line}: this does not add up; nothing was removed, please report it")
    return line


def _make_one(
    make: Callable[[Path, Arguments], Made], recipe: Recipe, arguments: Arguments, shard: Path
) -> Counter[str]:
    made = make(shard, arguments)
    write_sidecar(shard, recipe, made)
    return made.counts


def _is_finished(shard: Path, recipe: Recipe, restart: bool) -> bool:
    path = sidecar_path(shard, recipe.name)
    if not path.exists():
        return False
    try:
        wanted = _marks(shard, recipe)
    except DamagedShardError:
        return False  # making it names the shard, and the others go on
    try:
        there = _metadata(path)
    except (pa.ArrowException, OSError) as error:
        if restart:
            return False
        raise InputError(f"{path} cannot be read ({error}); --restart replaces it") from None
    if there.get(_RECIPE) != wanted[_RECIPE]:
        if restart:
            return False
        raise InputError(
            f"{path} was made otherwise: {_difference(there.get(_RECIPE), recipe)}; give the old "
            "settings, another --name, or --restart to replace it"
        )
    return all(there.get(mark) == value for mark, value in wanted.items())


def _metadata(path: Path) -> dict[bytes, bytes]:
    return pq.read_schema(path).metadata or {}


def _difference(found: bytes | None, recipe: Recipe) -> str:
    if found is None:
        return "it has no mark of this tool"
    old, new = json.loads(found), json.loads(_json(recipe.settings))
    return "; ".join(
        f"{name} was {old.get(name)!r}, is {new.get(name)!r}"
        for name in sorted(set(old) | set(new))
        if old.get(name) != new.get(name)
    )


def _counts(shard: Path, recipe: Recipe) -> Counter[str]:
    return Counter(json.loads(_metadata(sidecar_path(shard, recipe.name))[_COUNTS]))


def _marks(shard: Path, recipe: Recipe) -> dict[bytes, bytes]:
    inputs = {name: _input_sha256(sidecar_path(shard, name)) for name in recipe.inputs}
    return {
        _RECIPE: _json(recipe.settings),
        _SOURCE: source_sha256(shard).encode(),
        _INPUTS: _json(inputs),
    }


def _input_sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except FileNotFoundError:
        raise InputError(f"the sidecar {path} is missing") from None


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
