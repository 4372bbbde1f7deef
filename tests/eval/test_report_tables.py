"""The report's tables, what it writes beside the page, and the last two checkpoints in it."""

import csv
import json
import re

import numpy as np
import pytest

from eval.metric_names import (
    above_chance,
    direction,
    formatted,
    headline,
    main_metric,
    share,
    summary,
)
from eval.report.examples import chosen
from eval.report.protocols import told_apart
from eval.report.report import write_report
from eval.report.run_folder import read_run
from eval.report.sections import cards
from eval.results import JSONL, read
from eval.run import evaluate
from eval.spec import EvalSpec
from eval.stored_results import read_results
from tests.eval.test_compare import Confused, keep
from tests.eval.test_report import Page
from vlp.page import breakable


@pytest.fixture
def folder(tmp_path, encoder, class_folders, own_shards):
    """Two models on two benchmarks, with all predictions."""
    out = tmp_path / "out"
    for step, model in ((10, Confused()), (20, encoder)):
        about = {"path": f"runs/x/checkpoints/step-{step:09d}/model", "step": step}
        about["samples_seen"] = 100 * step
        keep(out, model, "zeroshot_classification", class_folders, **about)
        keep(out, model, "retrieval", own_shards, **about)
        keep(out, model, "geometry", own_shards, **about)
    return out


def write_records(folder, records):
    folder.mkdir(exist_ok=True)
    (folder / JSONL).write_text("\n".join(map(json.dumps, records)))


def made(metrics, **changes):
    """A record that was never computed."""
    return {
        "dataset": "d",
        "split": "test",
        "task": "zeroshot_classification",
        "model": "m",
        "pretrained": "p",
        "main": next(iter(metrics)),
        "metrics": metrics,
        "chance": {},
        "n": {"images": 9, "texts": 9},
        "protocol": {},
        "checkpoint": {"path": None, "step": None, "samples_seen": None},
        **changes,
    }


def test_csv_has_every_number(folder):
    write_report(folder)
    records, _ = read(folder)
    with open(folder / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(record["metrics"]) for record in records)
    found = {(row["task"], row["step"], row["metric"]): row for row in rows}
    for record in records:
        for name, value in record["metrics"].items():
            row = found[record["task"], str(record["checkpoint"]["step"]), name]
            assert row["value"] == ("" if value is None else str(value))
            bounds = record["ci95"].get(name)
            assert [row["low"], row["high"]] == [str(v) for v in bounds or ("", "")]
            assert row["model_fullname"] == f"{record['model']} {record['pretrained']}"
            assert int(row["main"]) == (name == record["main"])
    assert "nan" not in (folder / "results.csv").read_text().lower()


def test_markdown_has_a_row_a_checkpoint(folder):
    write_report(folder)
    lines = (folder / "report.md").read_text().splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines if line[:1] == "|"]
    rows = [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
    tasks = [(row["task"], row["model"]) for row in rows]
    assert tasks == [
        (task, f"runs/x, step {step}")
        for task in ("zeroshot_classification", "retrieval", "geometry")
        for step in (10, 20)
    ]
    right = rows[1]  # of seven classes all are right
    assert (right["value"], right["chance"], right["above chance"]) == (
        "100.00%",
        "14.29%",
        "100.0%",
    )


def test_the_page_shows_all_parts_and_no_nan(folder):
    text = write_report(folder).read_text()
    page = Page(text)
    assert all(load.startswith("data:image/") for load in page.loads)
    for words in ("Summary", "The last two checkpoints", "Geometry of the embeddings"):
        assert words in page.text
    visible = re.sub(r"data:image/[^\"]*", "", text)
    assert "nan" not in visible.lower()
    for number in range(3):
        assert f'href="#benchmark-{number}"' in visible
        assert f'id="benchmark-{number}"' in visible
    # A is the one that was trained further
    assert page.text.index("runs/x, step 20", page.text.index("last two")) < page.text.index(
        "runs/x, step 10", page.text.index("last two")
    )
    assert "A better on 12 samples, B on 0" in page.text


def test_of_two_checkpoints_each_geometry_is_a_column(folder):
    run = read_run(folder)
    page = Page(write_report(folder).read_text())
    values = [
        formatted("alignment", result.record["metrics"]["alignment"])
        for result in run.results
        if result.record["task"] == "geometry"
    ]
    part = page.text[page.text.index("Geometry of the embeddings") :]
    row = part[part.index("alignment") :].split("\n")[0]
    assert row == f"alignment{values[0]}{values[1]}"


def test_robustness(tmp_path):
    metrics = {
        "acc1": 0.8,
        "reference_acc1_v2": 0.75,
        "shifted_acc1_v2": 0.5,
        "gap_v2": 0.25,
        "gap_bare": 0.1,
    }
    write_records(tmp_path, [made(metrics, task="robustness_gap", ci95={"gap_v2": [0.2, 0.3]})])
    page = Page(write_report(tmp_path).read_text())
    part = page.text[page.text.index("Robustness") :]
    assert "m pdv275.00%50.00%25.00%20.00% to 30.00%" in part
    assert "m pdbare80.00%–10.00%–" in part


def test_clip_benchmark_can_build_its_table(folder):
    """Its `build` takes every JSON file of a folder, the metrics as columns beside the rest."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text())
        row = {**data["metrics"], **data}
        del row["metrics"]
        row["model_fullname"] = row["model"] + " " + row["pretrained"]
        rows.append(row)
    assert len(rows) == 6
    for row in rows:
        assert {"dataset", "model", "pretrained", "task", "language"} <= row.keys()
        assert row["language"] == "en"
    # the other model takes four of the seven classes for one another
    assert {row["acc1"] for row in rows if "acc1" in row} == {1.0, 9 / 21}


def test_predictions_are_found_by_the_record(folder, tmp_path, encoder, own_shards):
    assert all(result.predictions is not None for result in read_results(folder, []))
    place = tmp_path / "run" / "eval" / "own"
    for step in (1, 2):
        about = {"path": "runs/x", "step": step, "samples_seen": step}
        spec = EvalSpec(task="retrieval", data=str(own_shards))
        evaluate(encoder, spec, description=about, output=place, show_progress=False)
    first, second = read_results(tmp_path / "run", [])
    assert first.predictions is None  # replaced by the second
    assert second.predictions == place / "predictions-retrieval.npz"
    lines = [json.loads(line) for line in (place / JSONL).read_text().splitlines()]
    for line in lines:
        del line["predictions"]  # as records of before the field was there
    (place / JSONL).write_text("\n".join(map(json.dumps, lines)))
    assert read_results(tmp_path / "run", [])[1].predictions == second.predictions


def test_languages_are_benchmarks_of_their_own(tmp_path):
    write_records(tmp_path, [made({"acc1": 0.5}), made({"acc1": 0.4}, language="de")])
    titles = [benchmark.title for benchmark in read_run(tmp_path).benchmarks]
    assert titles == [
        "m p: zero-shot classification on d (test)",
        "m p: zero-shot classification on d (test) in de",
    ]
    write_report(tmp_path)
    assert "| d / test / de |" in (tmp_path / "report.md").read_text()


def test_many_benchmarks_have_no_cards(tmp_path):
    several = [made({"acc1": 0.5}, dataset=f"d{k}", chance={"acc1": 0.1}) for k in range(60)]
    write_records(tmp_path, several)
    run = read_run(tmp_path)
    assert cards(run.benchmarks) == []
    assert len(cards(run.benchmarks[:3])) == 3
    page = Page(write_report(tmp_path).read_text())
    assert page.text.count("zeroshot_classification") >= 60


def test_a_summary_for_the_terminal_is_short(folder):
    records, _ = read(folder)
    record = next(record for record in records if record["task"] == "retrieval")
    lines = summary(record).splitlines()
    assert lines[0] == "own / test / retrieval  (runs/x, step 10)"
    assert lines[1].split()[0] == "mean_recall@1"
    assert "chance 14.29%" in lines[1]
    assert lines[-1].startswith("  n: images 7, texts 14")
    many = made({"acc": 0.5, **{f"acc_{k}": 0.5 for k in range(40)}})
    assert len(summary(many).splitlines()) <= 14
    assert "and 30 more metrics" in summary(many)


def test_the_main_metric():
    assert main_metric(made({"acc5": 0.1, "acc1": None}, main="acc1")) == "acc5"
    assert main_metric({"metrics": {"zzz": 1.0, "acc1": 0.5}}) == "acc1"
    assert main_metric({"metrics": {"zzz": 1.0}}) == "zzz"
    assert main_metric({"metrics": {"acc1": None}}) is None
    assert headline({"acc1": 0.5, "zzz": 1.0}) == "acc1 50.00%"


@pytest.mark.parametrize(
    ("name", "value", "chance", "expected"),
    [
        ("acc1", 0.55, 0.1, 0.5),
        ("acc1", 0.1, 0.1, 0.0),
        ("acc1", 0.05, 0.5, -0.9),
        ("acc1", 0.5, None, None),
        ("acc1", 0.5, 1.0, None),
        ("count_mad", 1.0, 2.0, None),
        ("fpr95_mcm", 0.5, 0.95, None),
    ],
)
def test_above_chance(name, value, chance, expected):
    found = above_chance(name, value, chance)
    assert found == (expected if expected is None else pytest.approx(expected))


def test_which_way_is_better():
    assert [direction(n) for n in ("acc1", "lp_acc1", "image_retrieval_recall@1")] == [1, 1, 1]
    less = ("ece", "fitted_nll", "fpr95_msp", "gap_v2", "text_hubness_skew")
    assert [direction(n) for n in less] == [-1] * 5
    assert [direction(n) for n in ("image_uniformity", "rmg", "text_effective_rank")] == [0] * 3


def test_names_may_break_and_are_escaped():
    assert breakable("a_b/<i>") == "a_<wbr>b/<wbr>&lt;i&gt;"


def test_what_is_chosen_both_ways():
    """One item crosswise, as in Winoground: two pictures and two texts."""
    comparisons = [
        ("text", 0, 0, 0, 1),
        ("text", 1, 1, 1, 0),
        ("image", 0, 0, 1, 0),
        ("image", 1, 1, 0, 1),
    ]
    score = np.array([[0.5, 0.4], [0.6, 0.6]])  # picture, text
    right = np.array([(p, t) for _, p, t, _, _ in comparisons])
    wrong = np.array([(p, t) for _, _, _, p, t in comparisons])
    saved = {
        "key": np.array(["item"]),
        "picture_key": np.array(["p0", "p1"]),
        "text": np.array(["t0", "t1"]),
        "item": np.zeros(4, dtype=np.int64),
        "kind": np.array(["", "swap", "", ""]),
        "chosen": np.array([name for name, *_ in comparisons]),
        "right_picture": right[:, 0],
        "right_text": right[:, 1],
        "wrong_picture": wrong[:, 0],
        "wrong_text": wrong[:, 1],
        "right_score": score[right[:, 0], right[:, 1]],
        "wrong_score": score[wrong[:, 0], wrong[:, 1]],
    }
    of_text, of_image = chosen(saved, lambda key: f"data:{key}")
    assert [(e.right, e.picture, [c.text for c in e.top]) for e in of_text] == [
        (True, "data:p0", ["t0", "t1"]),
        (False, "data:p1", ["t0 (swap)", "t1"]),  # a tie counts against the model
    ]
    assert [(e.right, e.text, [c.picture for c in e.top]) for e in of_image] == [
        (True, "t1", ["data:p1", "data:p0"]),
        (False, "t0", ["data:p1", "data:p0"]),
    ]


def test_protocols_are_told_apart_by_what_people_can_read():
    sha = [letter * 64 for letter in "abc"]
    limits = [
        {"limit": n, "data_sha": own, "tie": 1} for n, own in zip((1, 2, 3), sha, strict=True)
    ]
    assert told_apart(limits) == ["limit 1", "limit 2", "limit 3"]
    assert told_apart([{"data_sha": sha[0]}, {"limit": 5, "data_sha": sha[1]}]) == ["", "limit 5"]
    same = [{"limit": 1, "data_sha": own} for own in sha[:2]]
    assert told_apart(same) == [f"data_sha {'a' * 12}", f"data_sha {'b' * 12}"]
    assert told_apart(limits[:1]) == [""]


def test_what_rounds_to_zero_has_no_sign():
    assert [share(value) for value in (-1e-9, -0.0004, -0.0006, 0.12345)] == [
        "0.0%",
        "0.0%",
        "-0.1%",
        "12.3%",
    ]
