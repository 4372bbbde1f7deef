"""`filter`: which samples to train on, by conditions and by the largest; no shard is rewritten."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from data_tools.annotate import Made, Recipe, SidecarOptions, annotate, unfinished
from data_tools.filtering.columns import sidecars_named
from data_tools.filtering.conditions import DETECTOR, Expression, parse, parse_conditions
from data_tools.filtering.judging import Rules, judge_shard, numbers
from data_tools.filtering.kept import SCHEMA, check_name, dropped_before, report
from data_tools.filtering.largest import SCHEMA as VALUES
from data_tools.filtering.largest import Cut, find_cut
from data_tools.filtering.outcome import Outputs
from data_tools.filtering.presets import PRESETS, Preset
from data_tools.samples import find_shards, open_index
from vlp.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Filter(SidecarOptions):
    """Write a keep sidecar: which samples to train on, and by which rule each other is dropped.

    Conditions are SQL (DuckDB) over a row for each sample: key, shard, caption, words, chars,
    language, width, height, original_width, original_height, aspect, lot; the columns of the table
    beside the shard; and those of sidecars, as scores.clip_score. A sample for which a value is
    missing is dropped. Only `lot`, a number from 0 to 1, is drawn.

    Args:
        where: what a sample must fulfil, such as "words > 2 AND scores.clip_score >= 0.25"; the
            first part between ANDs that it fails is its rule.
        preset: conditions that others have filtered by.
        top: COLUMN:FRACTION keeps the largest share of all samples by a number; of equal ones those
            of the smaller keys, so that exactly int(N * FRACTION) are kept.
        scores: the sidecar from which presets take clip_score.
        after: keep sidecar of an earlier step; what it drops stays dropped, and is not counted
            among the samples of which the largest are kept.
        name: of the sidecar; keep, or keep-SUFFIX.
        ledger: also write every dropped sample with its rule and value (.jsonl, .parquet).
        ids: also write the kept samples; .npy is DataComp's list of uids, .txt and .parquet hold
            keys.
    """

    where: str | None = None
    preset: Literal["datacomp-basic", "clip-top30", "laion2b"] | None = None
    top: str | None = None
    scores: str = "scores"
    after: str | None = None
    name: str = "keep"
    ledger: Path | None = None
    ids: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(self.name, self.after)
        if self.where is None and self.preset is None and self.top is None:
            raise InputError("one of --where, --preset and --top is needed")
        if self.scores != Filter.scores and self.preset not in ("clip-top30", "laion2b"):
            raise InputError(f"--scores {self.scores}: only presets with a clip_score read it")


@dataclass(frozen=True)
class Asked:
    """What the options ask for, parsed."""

    conditions: tuple[Expression, ...]
    top: Expression | None
    fraction: str
    after: str | None
    seed: int

    @property
    def columns(self) -> set[tuple[str, ...]]:
        """All that are named."""
        every = [*self.conditions, *([self.top] if self.top else [])]
        return {column for expression in every for column in expression.columns}

    def settings(self, expressions: Sequence[Expression]) -> dict[str, Any]:
        """What decides the values of expressions, besides the shards."""
        columns = {column for expression in expressions for column in expression.columns}
        found: dict[str, Any] = {"after": self.after}
        if ("lot",) in columns:
            found["seed"] = self.seed
        if ("language",) in columns:
            found["language"] = f"{DETECTOR} {version(DETECTOR)}"
        return found


def filter_shards(options: Filter) -> None:
    """Run the command.

    Raises:
        InputError: the options cannot be used, or a column is not there.
        RunError: some shards could not be read.
    """
    asked = _asked(options)
    shards = find_shards(options.shards)
    outputs = Outputs(options.ledger, options.ids)
    outputs.check(shards)
    # a wrong name is told before anything runs
    if options.name in sidecars_named(asked.columns, shards[0]):
        raise InputError(
            f"--name {options.name}: a condition reads this sidecar; give another --name"
        )
    cut = None
    if asked.top is not None:
        cut = _cut(asked, asked.top, shards, options)
        if cut is None:
            return
    rules = Rules(asked.after, asked.conditions, cut, options.seed)
    recipe = _recipe(asked, cut, shards[0], options.name)
    # the run that knows all values goes on for every part
    options = options if cut is None else replace(options, part="1/1")
    done = annotate(judge_shard, shards, recipe, rules, options)
    report(done, rules.labels, options.name)
    if not unfinished(shards, recipe):
        outputs.write(shards, options.name, options)
    done.finish()


def _asked(options: Filter) -> Asked:
    preset = PRESETS[options.preset] if options.preset else Preset()
    scores = options.scores.replace('"', '""')
    conditions: list[Expression] = []
    if preset.where:
        option = f"--preset {options.preset}"
        conditions += parse_conditions(preset.where.format(scores=scores), option)
    if options.where is not None:
        conditions += parse_conditions(options.where, "--where")
    if preset.top and options.top is not None:
        raise InputError(f"--top {options.top}: --preset {options.preset} has one already")
    top = preset.top.format(scores=scores) if preset.top else options.top
    expression, fraction = _largest(top) if top is not None else (None, "")
    return Asked(tuple(conditions), expression, fraction, options.after, options.seed)


def _largest(top: str) -> tuple[Expression, str]:
    column, _, fraction = top.rpartition(":")
    try:
        is_share = 0 < Fraction(fraction) <= 1
    except (ValueError, ZeroDivisionError):
        is_share = False
    if not column or not is_share:
        raise InputError(f"--top {top}: expected COLUMN:FRACTION with a fraction above 0, up to 1")
    return parse(column, "--top"), fraction


def _cut(asked: Asked, top: Expression, shards: Sequence[Path], options: Filter) -> Cut | None:
    """Where the largest end; None while other parts have to give their values."""
    inputs = [*sidecars_named(top.columns, shards[0]), *([asked.after] if asked.after else [])]
    recipe = Recipe(
        name=f"{options.name}/.top",
        schema=VALUES,
        settings={"top": top.sql, **asked.settings([top])},
        inputs=tuple(inputs),
        what="values",
    )
    annotate(values_of, shards, recipe, (top, asked.after, asked.seed), options).finish()
    waiting = unfinished(shards, recipe, options.restart)
    if waiting:
        print(
            f"{len(waiting):,} of {len(shards):,} shards have no values yet: run the other parts; "
            "the last one goes on for all"
        )
        return None
    cut = find_cut(shards, recipe.name, asked.fraction, f"top {asked.fraction} of {top.label}")
    print(f"{cut.label}: {cut.kept:,} of {cut.pool:,} samples, {_least(cut)}")
    return cut


def _least(cut: Cut) -> str:
    if cut.value == -math.inf:
        return f"all that have a value; {cut.pool - cut.kept:,} have none"
    return f"the least is {cut.value:.9g}" if cut.kept else "as the fraction is of less than one"


def values_of(shard: Path, arguments: tuple[Expression, str | None, int]) -> Made:
    """The values by which the largest are found, and which samples are still in."""
    expression, after, seed = arguments
    index = open_index(shard).table
    in_pool = [verdict is None for verdict in dropped_before(shard, after)]
    values = numbers(shard, expression, seed).to_pylist()
    columns = [
        index["key"],
        index["src_sha256"],
        pa.array([v if i else None for v, i in zip(values, in_pool, strict=True)], pa.float64()),
        pa.array(in_pool, pa.bool_()),
    ]
    return Made(pa.table(columns, VALUES.names))


def _recipe(asked: Asked, cut: Cut | None, shard: Path, name: str) -> Recipe:
    settings = asked.settings(asked.conditions)
    settings["where"] = [condition.sql for condition in asked.conditions]
    every = [column for condition in asked.conditions for column in condition.columns]
    inputs = sidecars_named(every, shard)
    inputs += [asked.after] if asked.after and asked.after not in inputs else []
    if cut is not None:
        settings |= {"top": cut.label, "least": repr(cut.value), "last": list(cut.last)}
        inputs += [cut.sidecar]
    return Recipe(name=name, schema=SCHEMA, settings=settings, inputs=tuple(inputs), what="judging")
