import json
from html.parser import HTMLParser

import numpy as np
import pytest

from eval.__main__ import main
from eval.examples import confused_pairs
from eval.report import write_report
from eval.run import evaluate
from eval.run_folder import read_run
from eval.spec import EvalSpec
from vlp.checkpoint import publish
from vlp.model.build import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags nest, and collects what a browser would load."""

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.loads += [v for k, v in attributes if k in ("src", "href", "srcset", "action", "data")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def run(tmp_path, encoder, constant, class_folders, own_shards):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("model: {arch: <tiny>}\nseed: 3\n")
    steps = [
        {
            "step": k,
            "samples_seen": 100 * k,
            "loss": 3.0 / k if k != 5 else None,
            "loss/contrastive": 3.0 / k,
            "grad_norm": 1.0 / k,
            "lr": 1e-3,
            "scale": 14.0 + k,
            "pairs_per_second": 200.0,
            "data_wait": 0.01,
        }
        for k in range(1, 30)
    ]
    lines = [json.dumps(step) for step in steps]
    (folder / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 30, "samp']))
    for k, model in ((1, constant), (2, encoder)):
        about = {"step": k, "samples_seen": 1000 * k, "path": "x"}
        for name, task, data in (
            ("colours", "zeroshot_classification", class_folders),
            ("own", "retrieval", own_shards),
        ):
            evaluate(
                model,
                EvalSpec(task=task, data=str(data)),
                description=about,
                output=folder / "eval" / name,
                show_progress=False,
            )
    return folder


def test_report_of_a_run(run):
    path = write_report(run)
    assert path == run / "report.html"
    page = Page(path.read_text())
    assert page.loads
    assert all(load.startswith("data:image/") for load in page.loads)
    assert sum(load.startswith("data:image/jpeg") for load in page.loads) > 20
    assert sum(load.startswith("data:image/svg") for load in page.loads) == 6 + 2 + 1
    for words in ("model: {arch: <tiny>}", "text → image R@1", "100.0%", "dark grey", "torch"):
        assert words in page.text
    assert "metrics.jsonl: 1 lines that are no logged step" in page.text


def test_report_of_plain_results(run, tmp_path):
    page = Page(write_report(run / "eval" / "own", tmp_path / "r.html").read_text())
    assert "config.yaml: the recipe of the run" in page.text
    assert "metrics.jsonl: the training curves" in page.text


def test_report_says_when_the_pictures_are_gone(run, own_shards):
    own_shards.rename(own_shards.with_name("moved"))
    (run / "eval" / "colours" / "predictions-zeroshot_classification.npz").write_bytes(b"PK\3\4x")
    page = Page(write_report(run).read_text())
    assert "no pictures, as the data cannot be read" in page.text
    assert "predictions-zeroshot_classification.npz cannot be read" in page.text


def test_report_of_curves_alone(run, tmp_path):
    folder = tmp_path / "bare"
    folder.mkdir()
    (run / "metrics.jsonl").rename(folder / "metrics.jsonl")
    page = Page(write_report(folder).read_text())
    assert "benchmark results" in page.text
    assert len(page.loads) == 6


def test_results_of_several_runs_are_kept_apart(tmp_path, encoder, own_shards):
    task = EvalSpec(task="retrieval", data=str(own_shards))
    for run, samples in (("a", 10), ("b", 10), ("a", 20)):
        path = f"runs/{run}/checkpoints/step-{samples}/model"
        about = {"path": path, "samples_seen": samples}
        evaluate(encoder, task, description=about, output=tmp_path, show_progress=False)
    found = {benchmark.name: benchmark for benchmark in read_run(tmp_path).benchmarks}
    assert set(found) == {"a, own", "b, own"}
    assert len(found["a, own"].over_training) == 2
    assert found["a, own"].predictions is not None
    assert found["b, own"].predictions is None  # the file is the newest evaluation's


def test_confused_pairs():
    counts = np.array([[5, 3, 0], [0, 8, 1], [4, 0, 0]])
    pairs = confused_pairs(counts, ["a", "b", "c"])
    assert [(p["true"], p["predicted"], p["count"], p["of"]) for p in pairs] == [
        ("c", "a", 4, 4),
        ("a", "b", 3, 8),
        ("b", "c", 1, 9),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("report {tmp}/nothing", "nothing is no folder"),
        ("report {tmp}", "nothing to report"),
        ("run x --task speed --data {tmp} --output o", "'speed': choices are zeroshot"),
        ("run x --task retrieval --data {tmp}/n --output o", "n does not exist"),
        ("run x --task retrieval --data {own} --output o", "x"),
        ("run x --task retrieval --data {own} --output o --device gpu", "'gpu': choices are cpu"),
        ("run x --task retrieval --data {own} --output o --limit 0", "limit must be at least 1"),
    ],
)
def test_mistakes_are_one_line_and_status_2(arguments, message, tmp_path, own_shards, capsys):
    (tmp_path / "empty").mkdir()
    filled = arguments.format(tmp=tmp_path / "empty", own=own_shards).split()
    assert main(filled) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    assert message in error


def test_command_line_end_to_end(tmp_path, tiny_arch, own_shards, capsys):
    model = build_model(ModelConfig(arch=tiny_arch))
    facts = {"step": 4, "samples_seen": 64, "weights": "last", "recipe": {}}
    (tmp_path / "model").mkdir()
    tokenizer = build_tokenizer(model.description.model_cfg)
    publish(tmp_path / "model", model.clip.state_dict(), model.description, tokenizer, facts)
    out = tmp_path / "out"
    options = f"--task retrieval --data {own_shards} --output {out} --batch 3 --device cpu"
    assert main(["run", str(tmp_path / "model"), *options.split()]) == 0
    shown = capsys.readouterr().out
    assert "text_retrieval_recall@10" in shown
    assert "images 7, texts 14" in shown
    record = json.loads((out / "results.jsonl").read_text())
    assert (record["checkpoint"]["step"], record["checkpoint"]["samples_seen"]) == (4, 64)
    assert record["protocol"]["image_size"] == [16, 16]
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").is_file()


def test_unknown_option_is_status_2(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "x", "--task", "retrieval", "--data", "d", "--output", "o", "--bach", "3"])
    assert stop.value.code == 2
    assert "--bach" in capsys.readouterr().err
