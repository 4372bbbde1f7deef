"""`balance`: a flatter distribution over a list of concepts, as MetaCLIP draws it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_tools.annotate import Recipe, SidecarOptions, annotate, conserved, unfinished
from data_tools.balancing.counts import (
    MATCHES,
    Expected,
    count_entries,
    describe,
    limit_of,
    probabilities,
)
from data_tools.balancing.drawing import Drawing, Matching, draw_shard, match_shard
from data_tools.balancing.entries import Entries, read_entries
from data_tools.filtering.kept import SCHEMA, check_name, report
from data_tools.filtering.outcome import Outputs
from data_tools.samples import find_shards
from vlp.data.leftovers import replace_tidily
from vlp.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Balance(SidecarOptions):
    """Write a keep sidecar that draws samples by the entries of a metadata list (MetaCLIP).

    An entry in c samples has p = t / max(c, t); a sample is kept if the lot of any of its entries
    succeeds, so with 1 - prod(1 - p), and dropped if it has no entry.

    Args:
        metadata: the list, .txt with one entry a line or .json with a list of texts.
        limit: t, the samples that a frequent entry keeps of its own, as expected.
        tail_share: in place of the limit; t is the smallest at which entries with at most t samples
            have at least this share of all matches.
        captions: first looks in the original caption, all in every caption of a sample.
        ignore_case: lower-case entries and captions; MetaCLIP does not.
        after: keep sidecar of an earlier step; what it drops stays dropped and is not counted.
        name: of the sidecar; keep, or keep-SUFFIX.
        dry_run: print what is expected, and draw nothing.
        counts: also write each entry with its count and probability (.tsv).
        ledger: also write every dropped sample with its rule and value (.jsonl, .parquet).
        ids: also write the kept samples; .npy is DataComp's list of uids, .txt and .parquet hold
            keys.
    """

    metadata: Path
    limit: int | None = None
    tail_share: str | None = None
    captions: Literal["first", "all"] = "first"
    ignore_case: bool = False
    after: str | None = None
    name: str = "keep-balance"
    dry_run: bool = False
    counts: Path | None = None
    ledger: Path | None = None
    ids: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(self.name, self.after)
        if (self.limit is None) == (self.tail_share is None):
            raise InputError("one of --limit and --tail-share is needed")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit {self.limit}: expected 1 or more")
        if self.tail_share is not None and not _is_share(self.tail_share):
            raise InputError(f"--tail-share {self.tail_share}: expected a number above 0, up to 1")
        if self.dry_run and (self.ledger or self.ids):
            raise InputError("--dry-run drops nothing: there is no --ledger and no --ids to write")
        if self.counts is not None and self.counts.suffix != ".tsv":
            raise InputError(f"--counts {self.counts}: expected a name that ends in .tsv")


def balance(options: Balance) -> None:
    """Run the command.

    Raises:
        InputError: the options or the list cannot be used.
        RunError: some shards could not be read.
    """
    shards = find_shards(options.shards)
    outputs = Outputs(options.ledger, options.ids)
    outputs.check(shards)
    entries = read_entries(options.metadata, options.ignore_case)
    _print_list(options.metadata, entries)
    matching = Matching(
        options.metadata, entries.sha256, options.ignore_case, options.captions, options.after
    )
    matches = _match_recipe(options, matching)
    annotate(match_shard, shards, matches, matching, options).finish()
    waiting = unfinished(shards, matches, options.restart)
    if waiting:
        print(
            f"{len(waiting):,} of {len(shards):,} shards are not matched yet: run the other parts; "
            "the last one goes on for all"
        )
        return
    counts = count_entries(shards, matches.name, len(entries.texts))
    limit = options.limit or limit_of(counts, options.tail_share or "0")
    p = probabilities(counts, limit)
    expected = Expected.of(shards, matches.name, p)
    print("\n".join(describe(entries.texts, counts, limit, expected)), flush=True)
    if options.counts is not None:
        rows = (entries.texts, counts, p)
        replace_tidily(options.counts, partial(_write_counts, rows))
        print(f"{options.counts}: {len(entries.texts):,} entries")
    if not options.dry_run:
        drawing = Drawing(matching, matches.name, p, limit, options.seed)
        _draw(shards, drawing, counts, expected, outputs, options)


def _draw(
    shards: Sequence[Path],
    drawing: Drawing,
    counts: NDArray[np.int64],
    expected: Expected,
    outputs: Outputs,
    options: Balance,
) -> None:
    recipe = _recipe(drawing, counts)
    # the run that knows all counts goes on for every part
    done = annotate(draw_shard, shards, recipe, drawing, replace(options, part="1/1"))
    kept = done.counts["kept"]
    if not unfinished(shards, recipe):
        print(f"drawn: {kept:,} samples{_deviation(kept, expected)}")
    report(done, drawing.groups, options.name)
    if not unfinished(shards, recipe):
        outputs.write(shards, options.name, options)
    done.finish()


def _deviation(kept: int, expected: Expected) -> str:
    if not expected.deviation:
        return ""
    off = (kept - expected.size) / expected.deviation
    return f", {off:+.2f} standard deviations from the expected"


def _match_recipe(options: Balance, matching: Matching) -> Recipe:
    return Recipe(
        name=f"{options.name}/.matches",
        schema=MATCHES,
        settings=matching.settings,
        inputs=matching.inputs,
        what="matching",
    )


def _recipe(drawing: Drawing, counts: NDArray[np.int64]) -> Recipe:
    settings = {
        **drawing.matching.settings,
        "limit": drawing.limit,
        "counts_sha256": hashlib.sha256(counts.tobytes()).hexdigest(),
        "seed": drawing.seed,
    }
    inputs = (drawing.sidecar, *drawing.matching.inputs)
    name = drawing.sidecar.partition("/")[0]
    return Recipe(name=name, schema=SCHEMA, settings=settings, inputs=inputs, what="drawing")


def _print_list(path: Path, entries: Entries) -> None:
    given = len(entries.texts) + entries.duplicates + entries.empty
    parts = {
        "entries": len(entries.texts),
        "duplicates": entries.duplicates,
        "empty": entries.empty,
    }
    print(f"{path}: {conserved(given, parts, 'lines' if path.suffix != '.json' else 'texts')}")
    if entries.never:
        print(
            f"{len(entries.never):,} entries can be in no caption, since , . ; : ? ! ` stand apart "
            f"there: {', '.join(map(repr, entries.never[:3]))}"
        )


def _write_counts(
    rows: tuple[Sequence[str], NDArray[np.int64], NDArray[np.float64]], path: Path
) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write("entry\tcount\tprobability\n")
        for entry, count, p in zip(*rows, strict=True):
            file.write(f"{entry}\t{count}\t{p:.9g}\n")


def _is_share(text: str) -> bool:
    try:
        return 0 < Fraction(text) <= 1
    except (ValueError, ZeroDivisionError):
        return False
