"""A whole run of `reshard`: planned from what the inputs hold, written, and closed."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from data_tools.building.shard_writer import ShardJob
from data_tools.destination import LocalFolder
from data_tools.engine import Options, Run, cores, own_part
from data_tools.manifest import Mark, Plan, close_folder, finished, sha256_json
from data_tools.resharding.found import common_names, unified
from data_tools.resharding.layout import Layout
from data_tools.resharding.ledger import write_dropped, write_not_found
from data_tools.resharding.rows import Carrying, is_neighbours, table_schema, write_targets
from data_tools.resharding.survey import Surveyed
from data_tools.resharding.writing import Group, OutputShard, write_group
from vlp.data.index import sidecar_path
from vlp.errors import InputError

_MOST_SHARDS = 100_000  # their names have five digits
_MOST_TOGETHER = 64  # shards of a group, whose rows are in memory together
_TARGETS = ".reshard-"
_BESIDE = ("classnames.txt", "zeroshot_classification_templates.txt")


@dataclass(frozen=True)
class Work:
    """What the inputs are, and what becomes of them."""

    shards: Sequence[Path]
    inputs: Sequence[Surveyed]
    layout: Layout
    carrying: Carrying
    plan: Plan
    outputs: Sequence[OutputShard]

    def finished(self) -> list[Mark | None]:
        """For every output shard its mark, None where it or a sidecar of it is missing."""
        return [
            mark if mark is not None and self._has_sidecars(output) else None
            for output, mark in zip(self.outputs, finished(self.plan), strict=True)
        ]

    def write(self, options: Options) -> Run[Group, list[Mark]]:
        """Write the shards of this run's part that are missing."""
        own = own_part(list(zip(self.outputs, self.finished(), strict=True)), options)
        missing = [output for output, mark in own if mark is None]
        if len(missing) < len(own):
            done = len(own) - len(missing)
            print(f"{done:,} of {len(own):,} shards are finished already", flush=True)
        with ExitStack() as stack:
            carrying = self._with_targets(stack) if missing else self.carrying
            run: Run[Group, list[Mark]] = Run(
                partial(write_group, carrying),
                list(_groups(missing, options)),
                options,
                what="writing shards",
                weight=_samples,
            )
            run.results()
        return run

    def close(self, folder: Path) -> None:
        """Write what belongs to the whole folder; every shard is finished."""
        names = common_names(self.shards)
        write_dropped(folder, self.shards, names, self.layout)
        write_not_found(folder, self.layout.not_found)
        _copy_class_files({shard.parent for shard in self.shards}, folder)
        marks = [mark for mark in self.finished() if mark is not None]
        close_folder(self.plan, marks)

    def _has_sidecars(self, output: OutputShard) -> bool:
        path = output.folder.path / output.name
        return all(sidecar_path(path, name).is_file() for name in self.carrying.sidecars)

    def _with_targets(self, stack: ExitStack) -> Carrying:
        """With a table of where each sample goes, where a sidecar names others."""
        sidecars = self.carrying.sidecars
        if not any(is_neighbours(name, schema) for name, schema in sidecars.items()):
            return self.carrying
        place = stack.enter_context(
            tempfile.TemporaryDirectory(prefix=_TARGETS, dir=self.outputs[0].folder.path)
        )
        write_targets(Path(place), self.inputs, self.layout)
        return replace(self.carrying, targets=Path(place).resolve())


def planned(
    shards: Sequence[Path],
    inputs: Sequence[Surveyed],
    layout: Layout,
    folder: Path,
    settings: Mapping[str, Any],
) -> Work:
    """The work of a run.

    Raises:
        InputError: there are too many shards, or tables that do not go together.
    """
    if layout.shards > _MOST_SHARDS:
        raise InputError(
            f"--samples-per-shard {layout.size}: makes {layout.shards:,} shards; the most are "
            f"{_MOST_SHARDS:,}"
        )
    carrying = _carrying(shards, inputs, layout, bool(settings["rekey"]))
    settings = {**settings, "sidecars": list(carrying.sidecars)}
    named = zip(common_names(shards), (one.sha256 for one in inputs), strict=True)
    source, settings_sha256 = sha256_json(list(named)), sha256_json(settings)
    outputs = [
        OutputShard(
            folder=LocalFolder(folder),
            number=number,
            places=layout.of_shard(number),
            settings_sha256=settings_sha256,
            input_sha256=source,
        )
        for number in range(layout.shards)
    ]
    plan = Plan(
        folder=LocalFolder(folder),
        split="",
        settings=settings,
        input_sha256=source,
        jobs=cast("Sequence[ShardJob]", outputs),  # what a plan asks of its jobs, these have
    )
    return Work(shards, inputs, layout, carrying, plan, outputs)


def clear(folder: Path, sidecars: Sequence[str]) -> None:
    """Remove the sidecars that an earlier run carried into a folder."""
    for name in sidecars:
        for path in (folder / "annotations" / Path(name).name).glob("[0-9]*.parquet"):
            path.unlink()


def tidy(folder: Path) -> None:
    """Remove what killed runs left behind in a folder that no other run writes to."""
    for path in folder.glob(f"{_TARGETS}*"):
        shutil.rmtree(path)


def _carrying(
    shards: Sequence[Path], inputs: Sequence[Surveyed], layout: Layout, rekey: bool
) -> Carrying:
    tables = {
        shard.with_suffix(".parquet"): one.table
        for shard, one in zip(shards, inputs, strict=True)
        if one.table is not None
    }
    names = sorted({name for one in inputs for name in one.sidecars})
    return Carrying(
        shards=shards,
        starts=layout.starts,
        table=table_schema(unified(tables, "the table"), rekey),
        sidecars={name: _sidecar_schema(name, shards, inputs) for name in names},
        size=layout.size,
        rekey=rekey,
        targets=None,
    )


def _sidecar_schema(name: str, shards: Sequence[Path], inputs: Sequence[Surveyed]) -> pa.Schema:
    schemas = {
        sidecar_path(shard, name): one.sidecars[name]
        for shard, one in zip(shards, inputs, strict=True)
        if name in one.sidecars
    }
    recipes = {(schema.metadata or {}).get(b"vlp_recipe") for schema in schemas.values()}
    if len(recipes) > 1:
        print(
            f"{name}: made with {len(recipes)} different settings, of which the new ones say none"
        )
    return unified(schemas, f"the sidecar {name}")


def _groups(missing: Sequence[OutputShard], options: Options) -> Iterator[Group]:
    """Shards that follow one another, so many together that no worker is idle."""
    workers = options.workers or cores()
    size = max(1, min(_MOST_TOGETHER, len(missing) // (2 * workers)))
    for start in range(0, len(missing), size):
        yield Group(tuple(missing[start : start + size]))


def _samples(group: Group) -> int:
    return sum(len(shard.places) for shard in group.shards)


def _copy_class_files(sources: set[Path], folder: Path) -> None:
    """The names and templates of classes, if all inputs have the same; said where they have not."""
    for name in _BESIDE:
        paths = [source / name for source in sorted(sources)]
        there = [path for path in paths if path.is_file()]
        contents = {path.read_bytes() for path in there}
        if len(contents) == 1 and len(there) == len(paths):
            LocalFolder(folder).write(name, contents.pop())
        elif there:
            print(f"{name} is not carried, as the folders of the inputs differ in it: {there[0]}")
