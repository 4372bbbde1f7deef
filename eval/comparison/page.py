"""A comparison of two checkpoints as a page, with pictures of what flipped."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eval import predictions
from eval.comparison.comparison import Comparison, Pair
from eval.comparison.text import flip_counts, notes, table
from eval.report.thumbnails import thumbnails
from vlp.page import render

_TEMPLATE = Path(__file__).parents[1] / "report" / "comparison.html.j2"


def page(found: Comparison) -> str:
    """A self-contained page."""
    absent = [f"{one.title}: {one.reason}" for one in found.refused]
    shown = as_template(found, absent)
    return render(
        _TEMPLATE,
        name=f"{found.a} and {found.b}",
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        found=shown,
        absent=absent,
    )


def as_template(found: Comparison, absent: list[str]) -> dict[str, Any]:
    """What the macro `comparison` of the templates shows.

    Args:
        found: the comparison.
        absent: gets a sentence where pictures are missing.
    """
    header, rows = table(found)
    titles = [pair.title for pair in found.pairs for _ in pair.rows]
    return {
        "a": found.a,
        "b": found.b,
        "header": header,
        "rows": list(zip(titles, rows, strict=True)),
        "notes": notes(found),
        "flipped": [_flipped(pair, absent) for pair in found.pairs if pair.flips.shown],
    }


def _flipped(pair: Pair, absent: list[str]) -> dict[str, Any]:
    assert pair.a.predictions is not None  # else nothing was compared
    picture, problem = thumbnails(predictions.read(pair.a.predictions))
    if problem:
        absent.append(f"{pair.title}: {problem}")
    return {
        "title": pair.title,
        "counts": flip_counts(pair),
        "flips": [
            {
                "better": flip.better,
                "key": flip.key,
                "truth": flip.truth,
                "a": flip.a,
                "b": flip.b,
                "pictures": [picture(key) for key in flip.pictures],
            }
            for flip in pair.flips.shown
        ],
    }
