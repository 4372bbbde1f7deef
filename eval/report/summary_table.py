"""The summary of a run: a row for each checkpoint on each benchmark, by its main metric."""

from dataclasses import dataclass
from typing import Any

from eval.metric_names import NONE as _NONE
from eval.metric_names import (
    above_chance,
    difference,
    formatted,
    interval_text,
    main_metric,
    share,
    shown,
)
from eval.records import checkpoint_name, data_of
from eval.report.reference import Published, published
from eval.report.run_folder import Benchmark, RunFolder, chance_of
from eval.report.text_tables import aligned, markdown


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """One checkpoint on one benchmark, by its main metric."""

    model: str
    benchmark: str  # data set, split and language, and the protocol where there are several
    task: str
    metric: str
    value: str
    interval: str
    chance: str
    above: str  # (value - chance) / (1 - chance)
    published: str
    deviation: str  # from what is published, in points
    agrees: bool  # with what is published, or nothing is
    place: int  # of the benchmark in the run


HEADER = (
    "model",
    "data set",
    "task",
    "metric",
    "value",
    "95 % interval",
    "chance",
    "above chance",
    "published",
    "deviation",
)


def summary_rows(run: RunFolder) -> list[SummaryRow]:
    """A row for each checkpoint of each benchmark, the checkpoints of a benchmark together."""
    groups: dict[tuple[str, str], list[SummaryRow]] = {}
    for place, benchmark in enumerate(run.benchmarks):
        for record in (result.record for result in benchmark.checkpoints):
            if main_metric(record) is not None:
                group = groups.setdefault((data_of(record), record["task"]), [])
                group.append(_summary_row(record, benchmark, place))
    return [row for group in groups.values() for row in group]


def summary_cells(rows: list[SummaryRow]) -> tuple[list[str], list[list[str]]]:
    """(header, cells) of the columns in which any row says something."""
    every = [
        [
            row.model,
            row.benchmark,
            row.task,
            row.metric,
            row.value,
            row.interval,
            row.chance,
            row.above,
            row.published,
            row.deviation if row.agrees else f"{row.deviation} !",
        ]
        for row in rows
    ]
    used = [i for i in range(len(HEADER)) if any(cells[i] != _NONE for cells in every)]
    return [HEADER[i] for i in used], [[cells[i] for i in used] for cells in every]


def summary_text(run: RunFolder) -> str:
    """The summary for the terminal."""
    header, cells = summary_cells(summary_rows(run))
    return "\n".join(aligned(header, cells, left=range(4))) if cells else ""


def summary_markdown(run: RunFolder) -> str:
    """The summary as a page of Markdown."""
    rows = summary_rows(run)
    header, cells = summary_cells(rows)
    lines = [f"# {run.folder.resolve().name}", ""]
    if not rows:
        return "\n".join([*lines, "No benchmark results.", ""])
    lines += markdown(header, cells, left=range(4))
    lines += ["", *(f"- {note}" for note in summary_notes(rows))]
    return "\n".join([*lines, ""])


def summary_notes(rows: list[SummaryRow]) -> list[str]:
    """What the columns mean."""
    notes = ["Above chance: (value - chance) / (1 - chance), 0 % for guessing, 100 % for no error"]
    if any(row.published != _NONE for row in rows):
        notes.append("Deviation: from the published number, in points; ! where above 0.5")
    return notes


def _summary_row(record: dict[str, Any], benchmark: Benchmark, place: int) -> SummaryRow:
    name = str(main_metric(record))
    value, guess = record["metrics"][name], chance_of(record).get(name)
    above = above_chance(name, value, guess)
    known = published(record)
    what = name if name in known else next(iter(known), None)  # of another metric than the main one
    return SummaryRow(
        model=checkpoint_name(record),
        benchmark=data_of(record) + (f" ({benchmark.apart})" if benchmark.apart else ""),
        task=record["task"],
        metric=name,
        value=formatted(name, value),
        interval=interval_text(record, name),
        chance=shown(name, guess),
        above=_NONE if above is None else share(above),
        published=_published(known, what, name),
        deviation=_NONE if what is None else difference(what, known[what].deviation),
        agrees=what is None or known[what].agrees,
        place=place,
    )


def _published(known: dict[str, Published], what: str | None, name: str) -> str:
    if what is None:
        return _NONE
    value = formatted(what, known[what].value)
    return value if what == name else f"{what} {value}"
