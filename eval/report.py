"""`python -m eval report RUN`: one self-contained HTML file about a run or a folder of results."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from tqdm import tqdm

from eval import examples, figures, predictions
from eval.metric_names import formatted
from eval.results import versions
from eval.run_folder import Benchmark, RunFolder, read_run
from vlp.data.files import write_text

_TEMPLATE = Path(__file__).with_name("report.html.j2")
_CARDS = {
    "acc1": "accuracy",
    "image_retrieval_recall@1": "text → image R@1",
    "image_retrieval_recall@10": "text → image R@10",
    "text_retrieval_recall@1": "image → text R@1",
    "text_retrieval_recall@10": "image → text R@10",
    "count_acc": "count accuracy",
    "choice_acc": "near misses beaten",
    "choice_all_acc": "all near misses beaten",
    "cider": "CIDEr",
}
_LABELS = {
    "image_retrieval_": "text → image ",
    "text_retrieval_": "image → text ",
    "recall@": "R@",
    "choice_acc_": "near misses beaten, ",
    "choice_acc": "near misses beaten",
    "choice_all_acc": "all near misses beaten",
    "count_mad": "mean deviation of the count",
    "bleu": "BLEU-",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr",
    "_": " ",
}
# of these less is better; of those that tell how embeddings lie, neither
_LESS = ("median_rank", "mean_rank", "count_mad")
_NEITHER = (
    "centroid_distance",
    "centroid_cosine",
    "linear_separability",
    "uniformity",
    "alignment",
    "effective_rank",
)


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Write the report, by default to FOLDER/report.html; returns its path.

    Raises:
        FileNotFoundError: nothing to report in the folder.
    """
    run = read_run(folder)
    output = output or folder / "report.html"
    html = render(run)
    write_text(output, html)
    return output


def render(run: RunFolder) -> str:
    """The report's HTML; it loads nothing from anywhere."""
    absent = list(run.absent)
    sections = [_section(b, absent) for b in tqdm(run.benchmarks, desc="report", delay=2.0)]
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        name=run.folder.resolve().name,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        last_step=run.steps[-1] if run.steps else None,
        cards=[card for benchmark in run.benchmarks for card in _cards(benchmark)],
        curves=figures.training_curves(run.steps) if run.steps else [],
        sections=sections,
        config=run.config,
        trained_with=run.versions,
        evaluated_with=run.benchmarks[-1].last.get("env", {}) if run.benchmarks else versions(),
        absent=absent,
    )


def _section(benchmark: Benchmark, absent: list[str]) -> dict[str, Any]:
    last = benchmark.last
    section: dict[str, Any] = {
        "title": benchmark.title,
        "rows": _rows(benchmark),
        "counts": {k.replace("_", " "): v for k, v in last["n"].items() if v is not None},
        "protocol": {k: v for k, v in last.get("protocol", {}).items() if v is not None},
        "checkpoint": {k: v for k, v in last.get("checkpoint", {}).items() if v is not None},
        "curve": figures.benchmark_curve(benchmark),
        "text_to_image": [],
        "image_to_text": [],
        "written": [],
        "classified": [],
        "confusion": None,
        "confused": [],
    }
    if benchmark.predictions is None:
        absent.append(f"{benchmark.title}: no predictions, so no examples")
        return section
    try:
        saved = predictions.read(benchmark.predictions)
    except ValueError as error:
        absent.append(f"{benchmark.title}: {error}")
        return section
    picture, problem = examples.thumbnails(saved)
    if problem:
        absent.append(f"{benchmark.title}: {problem}")
    if "confusion" in saved:
        names = [str(name) for name in saved["classnames"]]
        section["classified"] = examples.classified(saved, picture)
        section["confusion"] = figures.confusion(saved["confusion"], names)
        section["confused"] = examples.confused_pairs(saved["confusion"], names)
    elif "written" in saved:
        section["written"] = examples.written(saved, picture)
    elif "miss" in saved:
        section["image_to_text"] = examples.chosen(saved, picture)
    elif "image_rank" in saved:
        section["text_to_image"] = examples.text_to_image(saved, picture)
        section["image_to_text"] = examples.image_to_text(saved, picture)
    return section


def _cards(benchmark: Benchmark) -> list[dict[str, Any]]:
    record = benchmark.last
    found = []
    for name, label in _CARDS.items():
        value = record["metrics"].get(name)
        chance = benchmark.chance.get(name)
        if value is not None and (chance is not None or name == "cider"):
            interval = record.get("ci95", {}).get(name)
            found.append(
                {
                    "label": label,
                    "where": benchmark.name,
                    "value": value,
                    "shown": _card_number(name, value),
                    "interval": interval and [_card_number(name, bound) for bound in interval],
                    "chance": chance,
                    "above": chance is None or (interval is not None and interval[0] > chance),
                }
            )
    return found


def _card_number(name: str, value: float) -> str:
    return formatted(name, value) if name == "cider" else f"{value:.1%}"


def _rows(benchmark: Benchmark) -> list[dict[str, str]]:
    """One a metric: newest value, interval, chance, and the best over training."""
    record = benchmark.last
    rows = []
    for name, value in record["metrics"].items():
        interval = record.get("ci95", {}).get(name)
        rows.append(
            {
                "name": _label(name),
                "value": _format(name, value),
                "interval": " to ".join(_format(name, v) for v in interval) if interval else "–",
                "chance": _format(name, benchmark.chance.get(name)),
                "best": _best(benchmark, name),
            }
        )
    return rows


def _best(benchmark: Benchmark, name: str) -> str:
    values = {
        record["checkpoint"]["samples_seen"]: record["metrics"][name]
        for record in benchmark.over_training
        if record["metrics"].get(name) is not None
    }
    if not values or name.endswith(_NEITHER):
        return "–"
    better = min if name.endswith(_LESS) else max
    seen = better(values, key=lambda samples: values[samples])
    return f"{_format(name, values[seen])} at {seen:,}"


def _label(name: str) -> str:
    for old, new in _LABELS.items():
        name = name.replace(old, new)
    return name


def _format(name: str, value: float | None) -> str:
    return "–" if value is None else formatted(name, value)
