"""`python -m eval report RUN`: one self-contained page about a run or a folder of results.

Beside it report.md with the summary, and results.csv with every number.
"""

from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from eval.report import figures
from eval.report.comparisons import comparisons
from eval.report.results_csv import as_csv
from eval.report.run_folder import RunFolder, read_run
from eval.report.sections import cards, section
from eval.report.summary_table import (
    summary_cells,
    summary_markdown,
    summary_notes,
    summary_rows,
    summary_text,
)
from eval.report.tables import geometry_tables, robustness_table
from eval.results import versions
from vlp.data.files import write_text
from vlp.page import render as render_page

_OPEN = 4  # sections that are shown unfolded


def report(folder: str, output: str | None = None) -> int:
    """One self-contained HTML file about a run or a folder of results, with its numbers as tables.

    Args:
        folder: a run, or a folder with results.jsonl.
        output: default FOLDER/report.html; report.md and results.csv are written beside it.
    """
    path = write_report(Path(folder), Path(output) if output else None)
    print(summary_text(read_run(Path(folder))))
    print(f"report: {path}, {path.with_suffix('.md')}, {path.with_name('results.csv')}")
    return 0


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Write the report, by default to FOLDER/report.html; returns its path.

    Raises:
        FileNotFoundError: nothing to report in the folder.
    """
    run = read_run(folder)
    output = output or folder / "report.html"
    write_text(output, render(run))
    write_text(output.with_suffix(".md"), summary_markdown(run))
    write_text(output.with_name("results.csv"), as_csv(run.results))
    return output


def render(run: RunFolder) -> str:
    """The report's HTML; it loads nothing from anywhere."""
    absent = list(run.absent)
    bar = tqdm(run.benchmarks, desc="report", delay=2.0, disable=None)
    sections = [section(benchmark, number, absent) for number, benchmark in enumerate(bar)]
    rows = summary_rows(run)
    header, cells = summary_cells(rows)
    return render_page(
        Path(__file__).with_name("report.html.j2"),
        name=run.folder.resolve().name,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        last_step=run.steps[-1] if run.steps else None,
        header=header,
        summary=list(zip(rows, cells, strict=True)),
        notes=summary_notes(rows),
        cards=cards(run.benchmarks),
        curves=figures.training_curves(run.steps) if run.steps else [],
        comparisons=comparisons(run, absent),
        geometry=geometry_tables(run),
        robustness=robustness_table(run),
        sections=sections,
        unfolded=len(sections) <= _OPEN,
        config=run.config,
        trained_with=run.versions,
        evaluated_with=run.benchmarks[-1].last.get("env", {}) if run.benchmarks else versions(),
        absent=absent,
    )
