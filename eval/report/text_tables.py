"""Tables as text: aligned for a terminal, and in Markdown."""

from collections.abc import Iterable, Sequence

Row = Sequence[str]


def aligned(header: Row, rows: Sequence[Row], *, left: Iterable[int] = (0,)) -> list[str]:
    """Lines with columns under one another; those that are not in `left` end at one place."""
    everything = [header, *rows]
    widths = [max(len(row[column]) for row in everything) for column in range(len(header))]
    ours = set(left)

    def line(row: Row) -> str:
        cells = (
            cell.ljust(width) if column in ours else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return [line(row) for row in everything]


def markdown(header: Row, rows: Iterable[Row], *, left: Iterable[int] = (0,)) -> list[str]:
    """Lines of a table in Markdown."""
    ours = set(left)
    rule = [":--" if column in ours else "--:" for column in range(len(header))]
    return [_line(header), _line(rule), *map(_line, rows)]


def _line(row: Row) -> str:
    cells = (" ".join(cell.split()).replace("|", "\\|") for cell in row)
    return f"| {' | '.join(cells)} |"
