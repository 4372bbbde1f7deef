"""One section of the report a benchmark: its numbers over training, examples, confusions."""

from typing import Any

from eval import predictions
from eval.interface import Array
from eval.metric_names import NONE, direction, formatted, interval_text, label, shown
from eval.report import examples, figures
from eval.report.reference import published
from eval.report.run_folder import Benchmark
from eval.report.thumbnails import thumbnails

# of a benchmark, those that it has are shown as a card
_CARDS = (
    "acc1",
    "image_retrieval_recall@1",
    "image_retrieval_recall@10",
    "text_retrieval_recall@1",
    "text_retrieval_recall@10",
    "count_acc",
    "acc",
    "pair_acc",
    "cider",
)
_MOST_CARDS = 12  # with more of them the summary says it better


def section(benchmark: Benchmark, number: int, absent: list[str]) -> dict[str, Any]:
    """What the template shows of a benchmark.

    Args:
        benchmark: its results.
        number: of the section, which the summary links to.
        absent: gets a sentence about what cannot be shown.
    """
    last = benchmark.last
    rows = _rows(benchmark)
    found: dict[str, Any] = {
        "number": number,
        "title": benchmark.title,
        "rows": rows,
        "published": any(row["published"] for row in rows),
        "trained": len(benchmark.over_training) > 1,
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
        return found
    try:
        saved = predictions.read(benchmark.predictions)
    except ValueError as error:
        absent.append(f"{benchmark.title}: {error}")
        return found
    shown, problem = _examples(saved)
    if problem:
        absent.append(f"{benchmark.title}: {problem}")
    return found | shown


def cards(benchmarks: list[Benchmark]) -> list[dict[str, Any]]:
    """The main numbers in large type; none where there would be many."""
    every = [card for benchmark in benchmarks for card in _cards(benchmark)]
    # several tasks report the accuracy of the same pictures
    found = {(card["where"], card["label"], card["value"]): card for card in every}
    return list(found.values()) if len(found) <= _MOST_CARDS else []


def _examples(saved: dict[str, Array]) -> tuple[dict[str, Any], str | None]:
    """What the predictions of a task show, and why pictures are missing, if they are."""
    picture, problem = thumbnails(saved)
    if "predicted" in saved:
        found: dict[str, Any] = {"classified": examples.classified(saved, picture)}
        if "confusion" in saved:  # it is not kept of very many classes
            names = [str(name) for name in saved["classnames"]]
            found["confusion"] = figures.confusion(saved["confusion"], names)
            found["confused"] = examples.confused_pairs(saved["confusion"], names)
        return found, problem
    if "written" in saved:
        return {"written": examples.written(saved, picture)}, problem
    if "right_score" in saved:
        of_text, of_image = examples.chosen(saved, picture)
        return {"image_to_text": of_text, "text_to_image": of_image}, problem
    if "image_rank" in saved:
        return {
            "text_to_image": examples.text_to_image(saved, picture),
            "image_to_text": examples.image_to_text(saved, picture),
        }, problem
    return {}, None  # nothing of it needs a picture


def _cards(benchmark: Benchmark) -> list[dict[str, Any]]:
    record = benchmark.last
    found = []
    for name in _CARDS:
        value = record["metrics"].get(name)
        chance = benchmark.chance.get(name)
        if value is not None and (chance is not None or name == "cider"):
            interval = record.get("ci95", {}).get(name)
            found.append(
                {
                    "label": label(name),
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


def _rows(benchmark: Benchmark) -> list[dict[str, Any]]:
    """One a metric: newest value, interval, chance, what is published, the best over training."""
    record = benchmark.last
    known = published(record)
    rows = []
    for name, value in record["metrics"].items():
        rows.append(
            {
                "name": label(name),
                "value": shown(name, value),
                "interval": interval_text(record, name),
                "chance": shown(name, benchmark.chance.get(name)),
                "published": shown(name, known[name].value) if name in known else None,
                "agrees": name not in known or known[name].agrees,
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
    way = direction(name)
    if not values or not way:
        return NONE
    seen = max(values, key=lambda samples: way * values[samples])
    return f"{shown(name, values[seen])} at {seen:,}"
