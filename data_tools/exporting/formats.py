"""The formats of `export`, and which sidecars each can hold."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from data_tools.engine import Options, Run
from data_tools.exporting.csv_pictures import close_table, write_pictures
from data_tools.exporting.hugging_face import close_dataset, write_rows
from data_tools.exporting.job import Job
from data_tools.exporting.open_clip import close_json, close_shards, write_json_fields, write_txt
from data_tools.resharding.found import check_member_names, sidecars_of, unified
from data_tools.samples import open_index
from vlp.data.index import IMAGE_EXTENSIONS, sidecar_path
from vlp.data.sidecars import COLUMNS, COUNTS, NEGATIVES, REWRITES
from vlp.errors import InputError

_TEXTS = (REWRITES, NEGATIVES, COUNTS)
_READ = ("txt", "json")


@dataclass(frozen=True)
class Format:
    """How a format is written: each shard, and what belongs to all of them."""

    write: Callable[[Job], Counter[str]]
    close: Callable[[Sequence[Job], Sequence[Counter[str]]], list[str]]
    kinds: tuple[str, ...] | None  # of the sidecars that it can hold; None for all
    can_choose: bool
    is_tar: bool


FORMATS: Mapping[str, Format] = {
    "open-clip-txt": Format(write_txt, close_shards, (REWRITES,), True, True),
    "open-clip-json": Format(write_json_fields, close_json, _TEXTS, False, True),
    "csv": Format(write_pictures, close_table, _TEXTS, True, False),
    "hf": Format(write_rows, close_dataset, None, False, False),
}


@dataclass(frozen=True)
class Contents:
    """What shards hold besides pictures, captions and records."""

    sidecars: Mapping[str, pa.Schema]
    extensions: tuple[str, ...]  # of further members


def contents_of(
    shards: Sequence[Path], wanted: str | None, chosen: Format, options: Options
) -> Contents:
    """Find the sidecars to export, and what else there is.

    Args:
        wanted: names with commas between; None for all that the format can hold.

    Raises:
        InputError: a sidecar is missing, cannot be used, or the format has no place for it.
    """
    run: Run[Path, tuple[dict[str, pa.Schema], list[str]]] = Run(
        _look if not chosen.is_tar else _look_at_names, shards, options, what="reading indexes"
    )
    found = run.results()
    run.finish()
    there = sorted({name for sidecars, _ in found for name in sidecars})
    if wanted is None:
        names = [name for name in there if _can_hold(chosen, name)]
    else:
        names = list(dict.fromkeys(name.strip() for name in wanted.split(",") if name.strip()))
    schemas: dict[str, pa.Schema] = {}
    for name in names:
        own = {
            sidecar_path(shard, name): sidecars.get(name)
            for shard, (sidecars, _) in zip(shards, found, strict=True)
        }
        _check(name, own, chosen, there, is_named=wanted is not None)
        schemas[name] = unified({p: s for p, s in own.items() if s is not None}, name)
    return Contents(schemas, tuple(sorted({name for _, names in found for name in names})))


def _check(
    name: str,
    own: Mapping[Path, pa.Schema | None],
    chosen: Format,
    there: Sequence[str],
    is_named: bool,
) -> None:
    missing = [path for path, schema in own.items() if schema is None]
    if is_named and missing:
        raise InputError(
            f"--texts {name}: {missing[0]} is missing; the shards have {', '.join(there) or 'none'}"
        )
    if not _can_hold(chosen, name):
        kinds = ", ".join(chosen.kinds or ())
        raise InputError(f"--texts {name}: this format holds sidecars of the kinds {kinds}")
    needed = COLUMNS[name.partition("-")[0]] if chosen.kinds is not None else ()
    for path, schema in own.items():
        lacking = [column for column in needed if schema is not None and column not in schema.names]
        if lacking:
            raise InputError(f"{path}: lacks {', '.join(lacking)}")


def _can_hold(chosen: Format, name: str) -> bool:
    return chosen.kinds is None or name.partition("-")[0] in chosen.kinds


def _look(shard: Path) -> tuple[dict[str, pa.Schema], list[str]]:
    """The sidecars of a shard, and the extensions of its further members."""
    known = (*IMAGE_EXTENSIONS, *_READ)
    extensions = set[str]()
    for names in open_index(shard).table["ext"].to_pylist():
        extra = [name for name in names if name not in known]
        pictures = [name for name in IMAGE_EXTENSIONS if name in names]
        extensions.update(extra, pictures[1:])
    return sidecars_of(shard), sorted(extensions)


def _look_at_names(shard: Path) -> tuple[dict[str, pa.Schema], list[str]]:
    check_member_names(shard, open_index(shard).table)
    return _look(shard)
