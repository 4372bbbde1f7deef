"""The report's comparisons: the last two checkpoints of a folder on what both were evaluated on."""

from typing import Any

from eval.comparison.comparison import Wanted
from eval.comparison.page import as_template
from eval.comparison.paired import compare_sides
from eval.comparison.sides import Side
from eval.records import checkpoint_name, title_of
from eval.report.run_folder import RunFolder
from eval.stored_results import Result, by_checkpoint

_WANTED = Wanted(flips=4)


def comparisons(run: RunFolder, absent: list[str]) -> list[dict[str, Any]]:
    """What the template shows, one for each two checkpoints that are the last two of a benchmark.

    During training the predictions of the last checkpoint alone are kept, so a run has none.

    Args:
        run: whose results are compared.
        absent: gets a sentence about what cannot be compared.
    """
    kept = [result for result in run.results if result.predictions and result.benchmark is None]
    titles: dict[str, list[Result]] = {}
    for result in kept:
        titles.setdefault(title_of(result.record), []).append(result)
    sides: dict[tuple[str, str], tuple[list[Result], list[Result]]] = {}
    for results in titles.values():
        groups = by_checkpoint(results)[-2:]
        if len(groups) == 2:
            before, last = groups
            names = checkpoint_name(last[-1].record), checkpoint_name(before[-1].record)
            ours, theirs = sides.setdefault(names, ([], []))
            ours += last
            theirs += before
    found = []
    for (one, other), (ours, theirs) in sides.items():
        a = Side(name=one, results=ours, problems=[])
        b = Side(name=other, results=theirs, problems=[])
        try:
            compared = compare_sides(a, b, _WANTED)
        except ValueError as error:
            absent += [f"{one} and {other}: {line.strip()}" for line in _lines(error)]
            continue
        absent += [f"{one} and {other}, {r.title}: {r.reason}" for r in compared.refused]
        found.append(as_template(compared, absent))
    return found


def _lines(error: ValueError) -> list[str]:
    """Of a message with a list the entries, else the message."""
    first, *entries = str(error).splitlines()
    return entries or [first]
