"""Published numbers: the file itself, which results they are for, and what is flagged."""

import csv
import json

import open_clip
import pytest

from eval.benchmarks import BENCHMARKS
from eval.report.reference import FILE, published
from eval.report.report import write_report
from eval.results import JSONL
from tests.eval.test_report import Page

with open(FILE, newline="") as _file:
    ROWS = list(csv.DictReader(_file))
FLICKR = "retrieval/flickr_1k_test_image_text_retrieval"


def record(metrics, dataset="imagenet1k", model="ViT-B-32", tag="openai", **protocol):
    """A result of a model as `vlp.load("MODEL/TAG")` names it."""
    return {
        "dataset": dataset,
        "split": "test",
        "task": "zeroshot_classification",
        "model": model,
        "pretrained": f"{model}/{tag}",
        "metrics": metrics,
        "n": {"classes": 1000},
        "protocol": protocol,
        "checkpoint": {"path": f"{model}/{tag}", "step": None, "samples_seen": None},
    }


def test_every_row_is_a_known_checkpoint_and_data_set():
    assert set(ROWS[0]) == {"model", "pretrained", "dataset", "metric", "value", "source"}
    keys = [(row["model"], row["pretrained"], row["dataset"], row["metric"]) for row in ROWS]
    assert len(set(keys)) == len(keys)
    for model, tag, dataset, _ in set(keys):
        assert tag in open_clip.list_pretrained_tags_by_model(model)
        assert dataset in BENCHMARKS or dataset == "average of 38"
    assert all(0 < float(row["value"]) < 1 and row["source"] for row in ROWS)


@pytest.mark.parametrize("model", ["ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336"])
def test_the_mean_recall_is_that_of_both_ways(model):
    values = {
        row["metric"]: float(row["value"])
        for row in ROWS
        if (row["model"], row["pretrained"], row["dataset"]) == (model, "openai", FLICKR)
    }
    ways = (values["image_retrieval_recall@1"], values["text_retrieval_recall@1"])
    assert values["mean_recall@1"] == pytest.approx(sum(ways) / 2, abs=1e-4)


def test_a_known_result_and_its_deviation():
    found = published(record({"acc1": 0.6400, "acc5": 0.9}))
    assert set(found) == {"acc1"}
    assert found["acc1"].value == 0.6332  # open_clip's own table
    assert found["acc1"].deviation == pytest.approx(0.0068)
    assert not found["acc1"].agrees
    assert published(record({"acc1": 0.6332 - 0.0050}))["acc1"].agrees
    assert not published(record({"acc1": 0.6332 - 0.0051}))["acc1"].agrees


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({"model": "ViT-B-32-quickgelu"}, True),  # the same weights and activation
        ({"dataset": "wds_imagenet1k_test"}, True),
        ({"dataset": "imagenet"}, True),
        ({"dataset": "imagenet1k_of_mine"}, False),
        ({"tag": "laion400m_e32"}, False),
        ({"model": "ViT-B-32-quickgelu", "tag": "laion2b_s34b_b79k"}, False),
        ({"limit": 500}, False),  # of some samples alone
    ],
)
def test_which_results_are_known(changes, known):
    assert bool(published(record({"acc1": 0.6}, **changes))) == known


def test_the_report_flags_what_deviates(tmp_path):
    records = [
        record({"acc1": 0.6402}),
        record({"acc1": 0.8985}, dataset="cifar10"),
        record({"acc1": 0.5, "mean_per_class_recall": 0.8758}, dataset="vtab/caltech101"),
        record({"acc1": 0.5}, dataset="mine"),
    ]
    (tmp_path / JSONL).write_text("\n".join(map(json.dumps, records)))
    page = Page(write_report(tmp_path).read_text())
    assert "+0.70 !" in page.text
    assert page.text.count(" !") == 2  # the other one explains it
    lines = (tmp_path / "report.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    by_name = {row[1]: row for row in rows[2:]}
    header = rows[0]
    place = {name: header.index(name) for name in ("published", "deviation")}
    shown = {
        name: (row[place["published"]], row[place["deviation"]]) for name, row in by_name.items()
    }
    assert shown == {
        "imagenet1k / test": ("63.32%", "+0.70 !"),
        "cifar10 / test": ("89.83%", "+0.02"),
        "vtab/caltech101 / test": ("mean_per_class_recall 87.58%", "+0.00"),
        "mine / test": ("–", "–"),
    }
    with open(tmp_path / "results.csv", newline="") as file:
        found = {(row["dataset"], row["metric"]): row for row in csv.DictReader(file)}
    assert float(found["imagenet1k", "acc1"]["published"]) == 0.6332
    assert found["mine", "acc1"]["published"] == ""
