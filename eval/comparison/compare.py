"""`python -m eval compare A B`: paired differences of two checkpoints, and what flipped."""

import sys
from pathlib import Path
from typing import Any

from eval.comparison.comparison import Wanted
from eval.comparison.page import page
from eval.comparison.paired import compare_sides
from eval.comparison.sides import find_side
from eval.comparison.text import in_markdown, terminal
from vlp.data.files import write_text

_REFUSED = 1  # exit status


def compare(a: str, b: str, **options: Any) -> int:  # noqa: ANN401 (the fields of `Wanted`)
    """Compare two checkpoints on what both were evaluated on.

    Args:
        a: folder with results, or FOLDER:MODEL where it has several checkpoints; the model by name,
            path, step-NNNNNNNNN or the first characters of its fingerprint.
        b: the same for the other one.

    Returns:
        The exit status: 1 when a benchmark that both have was refused.
    """
    wanted = Wanted(**options)
    sides = find_side(a), find_side(b)
    for problem in dict.fromkeys([*sides[0].problems, *sides[1].problems]):
        print(problem, file=sys.stderr)
    found = compare_sides(*sides, wanted)
    print(terminal(found))
    if wanted.output is not None:
        output = Path(wanted.output)
        write_text(output, in_markdown(found) if output.suffix == ".md" else page(found))
        print(f"\ncomparison: {output}")
    for one in found.refused:
        print(f"not compared: {one.title}: {one.reason}", file=sys.stderr)
    return _REFUSED if found.refused else 0
