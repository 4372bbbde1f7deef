"""`python -m eval list`: the tasks, the known benchmarks and the layouts that are read."""

import inspect
import json as format_json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from eval.benchmarks import BENCHMARKS, SUITES, Benchmark
from eval.datasets import class_folders, clip_benchmark, shards
from eval.datasets.opening import PUBLISHED
from eval.tasks import TASKS

_GAP = "  "
_HEADS = ("benchmark", "n", "classes", "chance", "main metric", "suites", "source")


def list_tasks(json: bool = False) -> int:
    """List the tasks, the known benchmarks and the layouts that are read.

    Args:
        json: for machines.
    """
    if json:
        print(format_json.dumps(_content(), indent=1))
        return 0
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print("TASKS (--task)\n")
    print(table(("task", "main metric", "needs", "metrics", "source"), _task_rows(), width))
    print("\nBENCHMARKS (--suite NAME --data ROOT)")
    for task in dict.fromkeys(own.task for own in BENCHMARKS.values()):
        own = [_benchmark_row(each) for each in BENCHMARKS.values() if each.task == task]
        print(f"\n{task or 'no task here'}\n")
        print(table(_HEADS, own, width))
    print()
    for paragraph in _ABOUT:
        print(paragraph if width is None else textwrap.fill(paragraph, width))
    print("\nLAYOUTS\n")
    print(table(("layout", "what it is"), _layout_rows(), width))
    return 0


_ABOUT = (
    "~ is from memory, and not from a task list. A suite looks in ROOT for the folders NAME, "
    "NAME with - for /, wds_NAME, wds_NAME_test, and for the last part of NAME in the same forms; "
    "--json lists all names.",
)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Columns of text; where they are wider than `width`, cells are broken into lines at spaces.

    Args:
        heads: [c] titles.
        rows: [r][c] cells.
        width: characters; None for a line a row, whatever its length.
    """
    columns = list(zip(heads, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    if width is not None:
        least = [max(len(word) for cell in column for word in cell.split()) for column in columns]
        widths = _narrowed(widths, least, width - len(_GAP) * (len(widths) - 1))
    lines = [_line(heads, widths), _GAP.join("-" * w for w in widths)]
    return "\n".join([*lines, *(_line(row, widths) for row in rows)])


def _narrowed(widths: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """Take from the widest column that can be narrower until all fit, as far as that goes."""
    found = list(widths)
    while sum(found) > width and any(now > low for now, low in zip(found, least, strict=True)):
        spare = [now if now > low else 0 for now, low in zip(found, least, strict=True)]
        found[spare.index(max(spare))] -= 1
    return found


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    broken = [_wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    lines = []
    for k in range(max(map(len, broken))):
        parts = [own[k] if k < len(own) else "" for own in broken]
        padded = (part.ljust(w) for part, w in zip(parts, widths, strict=True))
        lines.append(_GAP.join(padded).rstrip())
    return "\n".join(lines)


def _wrap(cell: str, width: int) -> list[str]:
    """Words stay whole: they are names that people copy."""
    lines = textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False)
    return lines or [""]


def _layout_rows() -> list[tuple[str, str]]:
    """The layouts that are read, and the first paragraph of what their readers say."""
    readers = (clip_benchmark, shards, class_folders, *PUBLISHED)
    about = [inspect.getdoc(reader) or "" for reader in readers]
    return [
        (reader.__name__.rpartition(".")[2], " ".join(text.partition("\n\n")[0].split()))
        for reader, text in zip(readers, about, strict=True)
    ]


def _task_rows() -> list[tuple[str, ...]]:
    return [(t.name, t.main, t.needs, t.metrics, t.source) for t in TASKS.values()]


def _benchmark_row(own: Benchmark) -> tuple[str, ...]:
    main = own.main or (TASKS[own.task].main if own.task else "")
    about = f"; a shift of {own.shift_of}" if own.shift_of else ""
    about += f"; {own.reason}" if own.reason else ""
    chance = "" if own.chance is None else f"{own.chance:.2%}"
    return (
        own.name,
        *(_number(own, name) for name in ("n", "classes")),
        chance,
        main,
        ", ".join(_suites(own)),
        own.source + about,
    )


def _number(own: Benchmark, name: str) -> str:
    value = getattr(own, name)
    if value is None:
        return ""
    return "~" * (name in own.recalled) + f"{value:,}"


def _suites(own: Benchmark) -> list[str]:
    return [name for name, entries in SUITES.items() if any(e.benchmark is own for e in entries)]


def _content() -> dict[str, Any]:
    return {
        "tasks": [
            {
                "name": task.name,
                "main": task.main,
                "needs": task.needs,
                "metrics": task.metrics,
                "source": task.source,
                "options": sorted(task.options),
            }
            for task in TASKS.values()
        ],
        "benchmarks": [_described(own) for own in BENCHMARKS.values()],
        "suites": {
            name: [{"benchmark": e.benchmark.name, "tasks": list(e.tasks)} for e in entries]
            for name, entries in SUITES.items()
        },
        "layouts": dict(_layout_rows()),
    }


def _described(own: Benchmark) -> dict[str, Any]:
    names = ("name", "task", "n", "classes", "chance", "main", "shift_of", "reason", "source")
    facts = {name: getattr(own, name) for name in names}
    groups = {name: {"column": g.column, "without": g.without} for name, g in own.groups.items()}
    facts |= {"folders": own.folders, "part_of": own.part_of, "recalled": own.recalled}
    return facts | {"groups": groups}
