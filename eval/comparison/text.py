"""A comparison of two checkpoints in words: for the terminal, and in Markdown."""

from collections.abc import Sequence

from eval.comparison.comparison import Comparison, Pair, Row
from eval.metric_names import difference, direction, formatted, share
from eval.records import checkpoint_id
from eval.report.text_tables import aligned, markdown

_HOLM = "p (Holm)"
_FLIPS = ("better", "sample", "right is", "A", "B")
_CUT = 44  # characters of a cell in the terminal


def terminal(found: Comparison) -> str:
    """Header, one block a benchmark, what flipped, how it was computed."""
    header, rows = table(found)
    lines = aligned(header, rows, left=(0, header.index("test")))
    body = iter(lines[1:])
    out = [f"A  {found.a}", f"B  {found.b}", "", f"  {lines[0]}"]
    for pair in found.pairs:
        out += [pair.title, *(f"  {next(body)}" for _ in pair.rows)]
    out += ["", *notes(found)]
    for pair in found.pairs:
        if pair.flips.shown:
            shown = [[_cut(cell) for cell in row] for row in flip_rows(pair)]
            own = aligned(_used(_FLIPS, shown), [_used(row, shown) for row in shown], left=range(5))
            out += ["", f"{pair.title}: {flip_counts(pair)}", *(f"  {line}" for line in own)]
    return "\n".join(out)


def in_markdown(found: Comparison) -> str:
    """The same as a page of Markdown."""
    header, rows = table(found)
    titles = [pair.title for pair in found.pairs for _ in pair.rows]
    full = [[title, *row] for title, row in zip(titles, rows, strict=True)]
    left = (0, 1, 1 + header.index("test"))
    out = ["# Comparison", "", f"- A: {found.a}", f"- B: {found.b}", ""]
    out += markdown(("benchmark", *header), full, left=left)
    out += ["", *(f"- {note}" for note in notes(found))]
    for pair in found.pairs:
        if pair.flips.shown:
            out += ["", f"## {pair.title}", "", f"{flip_counts(pair)}.", ""]
            out += markdown(_FLIPS, flip_rows(pair), left=range(5))
    return "\n".join([*out, ""])


def table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """(header, a row a metric) without the names of the benchmarks."""
    every = [row for pair in found.pairs for row in pair.rows]
    header = ["metric", "A", "B", "A - B", "95 % interval", "p", _HOLM, "test"]
    header += ["differ", "A*", "B*"]
    rows = [_cells(row) for row in every]
    if not _adjusted(found):
        place = header.index(_HOLM)
        return _without(header, place), [_without(row, place) for row in rows]
    return header, rows


def notes(found: Comparison) -> list[str]:
    """How the numbers were computed, and what is not among them."""
    every = [row for pair in found.pairs for row in pair.rows]
    lines = ["A - B of shares is in percentage points"]
    first = found.pairs[0]
    if checkpoint_id(first.a.record) == checkpoint_id(first.b.record):
        lines.insert(0, "A and B are the same weights")
    if any(direction(row.metric) < 0 for row in every):
        lines.append("Of metrics with ↓ less is better")
    tests = {row.difference.test for row in every}
    if "McNemar exact" in tests:
        lines.append("McNemar exact: binomial test on the samples on which the two differ")
    lines.append(
        f"Intervals and p of the bootstrap: {found.resamples:,} paired resamples, seed {found.seed}"
    )
    if _adjusted(found):
        lines.append(f"{_HOLM}: adjusted for all tests of this table")
    lines.append("* Above chance: (value - chance) / (1 - chance), 0 % for guessing")
    for name, titles in found.alone.items():
        if titles:
            lines.append(f"{name} alone was evaluated on: {', '.join(titles)}")
    return lines


def flip_counts(pair: Pair) -> str:
    """How many samples flipped each way."""
    return f"A better on {pair.flips.a_better:,} samples, B on {pair.flips.b_better:,}"


def flip_rows(pair: Pair) -> list[list[str]]:
    """What flipped, a row a sample."""
    return [[flip.better, flip.key, flip.truth, flip.a, flip.b] for flip in pair.flips.shown]


def p_value(p: float | None) -> str:
    """Four digits."""
    if p is None:
        return "–"
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _cells(row: Row) -> list[str]:
    name, found = row.metric, row.difference
    interval = "–"
    if found.interval is not None:
        low, high = (difference(name, bound) for bound in found.interval)
        interval = f"{low} to {high}"
    return [
        f"{name} ↓" if direction(name) < 0 else name,
        *(formatted(name, value) for value in row.values),
        difference(name, found.value),
        interval,
        p_value(found.p),
        p_value(row.adjusted),
        "–" if found.test == "none" else found.test,
        "–" if row.discordant is None else f"{row.discordant:,}",
        *("–" if value is None else share(value) for value in row.above_chance),
    ]


def _adjusted(found: Comparison) -> bool:
    """Whether there are several tests; the adjusted value of a single one is its own."""
    return sum(row.adjusted is not None for pair in found.pairs for row in pair.rows) > 1


def _without(row: list[str], place: int) -> list[str]:
    return row[:place] + row[place + 1 :]


def _used(row: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The cells of columns that say anything in any row."""
    return [cell for place, cell in enumerate(row) if any(other[place] for other in rows)]


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _CUT else f"{text[: _CUT - 1]}…"
