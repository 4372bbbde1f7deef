"""Train every objective with and without, and write what came of it.

    python -m benchmarks.proof [--seeds 3] [--at_a_time 2] [--folder runs/proof]

Runs that are done are kept, so an interrupted proof goes on. The result is `docs/proof.md` between
its marks, and `report.html` in the folder.
"""

import sys
from pathlib import Path

import jinja2
from jsonargparse import auto_cli

from benchmarks.proof.runs import ROOT, ProofError, make_data, train_all
from benchmarks.proof.table import Row, rows
from vlp.data.files import write_text

DOCUMENT = ROOT / "docs" / "proof.md"
BEGIN, END = "<!-- table: written by `make proof` -->", "<!-- end of table -->"
_PAGE = """<!doctype html><meta charset="utf-8"><title>Proof of the objectives</title>
<style>body{font:15px/1.5 system-ui;margin:2rem auto;max-width:70rem;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{padding:.35rem .6rem;border-bottom:1px solid #ccd;
text-align:left}td.n{text-align:right;font-variant-numeric:tabular-nums}
.shown{color:#060}.not{color:#840}</style>
<h1>Does each objective do what it claims?</h1>
<p>The same small model, data and budget, with and without; {{ seeds }} seeds; differences paired by
seed, 95&nbsp;% intervals of Student's t over seeds.</p>
<table><tr>{% for name in head %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in table %}<tr>{% for cell in row[:3] %}<td>{{ cell }}</td>{% endfor %}
{% for cell in row[3:-1] %}<td class="n">{{ cell }}</td>{% endfor %}
<td class="{{ 'shown' if row[-1] == 'shown' else 'not' }}">{{ row[-1] }}</td></tr>
{% endfor %}</table>"""
_HEAD = ["objective", "against", "claim", "without", "with", "difference [95 %]", "verdict"]


def proof(seeds: int = 3, at_a_time: int = 2, folder: str = "runs/proof") -> None:
    """Run the proof.

    Args:
        seeds: runs of each arm, at least 2.
        at_a_time: runs beside one another, on one core each.
        folder: where the runs are.
    """
    if seeds < 2 or at_a_time < 1:
        raise ProofError(f"seeds must be at least 2 and at_a_time 1, got {seeds} and {at_a_time}")
    make_data()
    train_all(Path(folder), seeds, at_a_time)
    table = [_cells(row) for row in rows(Path(folder), seeds)]
    _write_document(table)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(_PAGE).render(head=_HEAD, table=table, seeds=seeds)
    write_text(Path(folder) / "report.html", page)
    for cells in table:
        print("  ".join(cells))
    print(f"table: {DOCUMENT.relative_to(ROOT)}, {folder}/report.html")


def _cells(row: Row) -> list[str]:
    def shown(value: float, sign: str = "") -> str:
        if row.claim.number.endswith("distance"):
            return f"{value:{sign}.3f}"
        return f"{100 * value:{sign}.1f}"

    spread = f"{shown(row.difference, '+')} [{shown(row.low, '+')}, {shown(row.high, '+')}]"
    claim = row.claim
    direction = "" if claim.margin is not None else (" up" if claim.better > 0 else " down")
    names = [claim.system, claim.against, claim.says + direction]
    return [*names, shown(row.without), shown(row.with_it), spread, row.verdict]


def _write_document(table: list[list[str]]) -> None:
    lines = [f"| {' | '.join(cells)} |" for cells in (_HEAD, ["---"] * len(_HEAD), *table)]
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    write_text(DOCUMENT, "\n".join([before.rstrip("\n"), "", BEGIN, *lines, END]) + after)


if __name__ == "__main__":
    try:
        auto_cli(proof, as_positional=False)
    except ProofError as error:
        sys.exit(f"error: {error}")
