"""`reshard`: the samples of shards in other shards, with all that belongs to them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from data_tools.destination import LocalFolder
from data_tools.engine import Options, Run
from data_tools.filtering.kept import keep_names
from data_tools.manifest import open_folder
from data_tools.resharding.ids import IdList, read_ids
from data_tools.resharding.layout import Selection, check_unique, lay_out
from data_tools.resharding.ledger import DROPPED, NOT_FOUND
from data_tools.resharding.report import Balance, print_inputs
from data_tools.resharding.survey import Questions, Surveyed, survey
from data_tools.resharding.work import clear, planned, tidy
from data_tools.samples import find_shards
from vlp.errors import InputError

_MOST_REKEYED = 10_000  # new keys have four digits for the place in the shard


@dataclass(frozen=True, kw_only=True)
class Reshard(Options):
    """Split, merge, shuffle or subset shards, with sidecars and tables; members keep their bytes.

    A sidecar that only some of the inputs have is carried, and its gaps are counted. What is
    dropped, and every row of a table that is of no sample, is in dropped.parquet. Only --shuffle
    draws.

    Args:
        shards: tars, folders of tars, or patterns such as 'data/{00000..00099}.tar'.
        output: folder of the new shards.
        samples_per_shard: of the new shards; the last one has what is left.
        shuffle: put all samples in an order by lot.
        keep: keep sidecars, with commas between; a sample must be kept by all of them.
        ids: take only samples that this list names; keys, one a line (.txt) or in the column `key`
            (.jsonl, .csv, .tsv, .parquet), or DataComp's uids (.npy).
        drop_ids: take no sample that this list names.
        limit: take only the first samples of the new order.
        rekey: give new keys, of shard and place; the former ones are the last column of the new
            tables. The .json of a sample keeps its bytes, and in it the former key.
        restart: remove what an earlier run wrote in output, and write it anew.
    """

    shards: list[str]
    output: Path
    samples_per_shard: int = 1000
    shuffle: bool = False
    keep: str | None = None
    ids: Path | None = None
    drop_ids: Path | None = None
    limit: int | None = None
    rekey: bool = False
    restart: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.samples_per_shard
        if size < 1:
            raise InputError(f"--samples-per-shard {size}: expected at least 1")
        if self.rekey and size > _MOST_REKEYED:
            raise InputError(
                f"--samples-per-shard {size}: --rekey has keys for {_MOST_REKEYED:,} at most"
            )
        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit {self.limit}: expected at least 1")
        if self.restart and not self.is_whole:
            raise InputError(
                "--restart: would remove what the other parts have written; give it without --part"
            )


def reshard(options: Reshard) -> None:
    """Run the command.

    Raises:
        InputError: the options or the inputs cannot be used, or a key comes twice.
        RunError: a shard could not be read or written, or something was lost.
    """
    shards = find_shards(options.shards)
    folder = LocalFolder(options.output)
    if options.output.resolve() in {shard.resolve().parent for shard in shards}:
        raise InputError(f"--output {folder}: the inputs lie there; choose another folder")
    selection = _selection(options)
    inputs = _survey(shards, selection, options)
    layout = lay_out(inputs, selection, options.samples_per_shard)
    work = planned(shards, inputs, layout, folder.path, _settings(selection, options))
    print_inputs(inputs, layout, (selection.ids, selection.drop_ids))
    with folder.held(options.part):
        if options.is_whole:
            tidy(folder.path)
        if options.restart:
            _remove_own(folder)
        open_folder(work.plan, options.restart)
        run = work.write(options)
        marks = work.finished()
        if None not in marks:
            work.close(folder.path)
    Balance(inputs, layout, marks, list(work.carrying.sidecars)).show(str(folder))
    run.finish()


def _selection(options: Reshard) -> Selection:
    lists: list[IdList | None] = [
        read_ids(option, path) if path is not None else None
        for option, path in (("--ids", options.ids), ("--drop-ids", options.drop_ids))
    ]
    return Selection(
        keep=tuple(keep_names(options.keep)),
        ids=lists[0],
        drop_ids=lists[1],
        limit=options.limit,
        shuffle=options.shuffle,
    )


def _survey(shards: Sequence[Path], selection: Selection, options: Reshard) -> list[Surveyed]:
    lists = (selection.ids, selection.drop_ids)
    questions = Questions(
        keep=selection.keep,
        seed=options.seed if selection.shuffle else None,
        needs_uids=any(one is not None and one.is_uids for one in lists),
        keeps_keys=not options.rekey,
    )
    run: Run[Path, Surveyed] = Run(
        partial(survey, questions), shards, options, what="reading indexes"
    )
    inputs = run.results()
    run.finish()
    if not options.rekey:
        check_unique(shards, inputs)
    return inputs


def _settings(selection: Selection, options: Reshard) -> dict[str, Any]:
    """What a resumed run must share."""
    lists = {"ids": selection.ids, "drop_ids": selection.drop_ids}
    return {
        "command": "reshard",
        "samples_per_shard": options.samples_per_shard,
        "shuffle": options.seed if options.shuffle else None,
        "keep": list(selection.keep),
        "limit": options.limit,
        "rekey": options.rekey,
    } | {name: None if listed is None else listed.sha256 for name, listed in lists.items()}


def _remove_own(folder: LocalFolder) -> None:
    """Remove what an earlier run wrote besides the files that every data folder has."""
    try:
        settings = json.loads(folder.read("manifest.json"))["settings"]
        is_own = settings["command"] == "reshard"
    except (OSError, ValueError, KeyError, TypeError):
        return  # `open_folder` says what else this is
    if is_own:
        clear(folder.path, settings["sidecars"])
        folder.remove(DROPPED)
        folder.remove(NOT_FOUND)
