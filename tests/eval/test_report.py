import base64
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from eval.__main__ import _join_group, main
from eval.report import figures
from eval.report.examples import confused_pairs
from eval.report.report import write_report
from eval.report.run_folder import read_run
from eval.report.summary_table import summary_rows
from eval.run import evaluate
from eval.spec import EvalSpec
from vlp.checkpoint import publish
from vlp.device import checked_device
from vlp.model.build import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer

VOID = {"meta", "img", "br", "wbr", "link", "input", "hr"}


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
        named = [v for k, v in attributes if k in ("src", "href", "srcset", "action", "data")]
        self.loads += [v for v in named if not v.startswith("#")]  # what is on the page is there

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
    assert "config.yaml" not in page.text  # it is no run, of which something would be missing
    (run / "config.yaml").unlink()
    page = Page(write_report(run).read_text())
    assert "config.yaml: the recipe of the run" in page.text


def test_report_says_when_the_pictures_are_gone(run, own_shards):
    own_shards.rename(own_shards.with_name("moved"))
    (run / "eval" / "colours" / "predictions-zeroshot_classification.npz").write_bytes(b"PK\3\4x")
    page = Page(write_report(run).read_text())
    assert "no pictures, as the data cannot be read" in page.text
    assert "predictions-zeroshot_classification.npz cannot be read" in page.text


def test_report_shows_no_pictures_of_other_data(run, class_folders):
    shutil.copy(class_folders / "test" / "red" / "0.png", class_folders / "test" / "red" / "3.png")
    text = write_report(run).read_text()
    page = Page(text)
    assert "colours (test): no pictures, as the data has changed since the evaluation" in page.text
    assert "own (test): no pictures" not in page.text
    assert "dark grey" in page.text


def test_report_names_what_trained_and_what_evaluated(run, tiny_arch):
    assert "versions of the training" in Page(write_report(run).read_text()).text
    for step in (1, 2):
        place = run / "checkpoints" / f"step-{step:09d}" / "model"
        folder = publish_tiny(place, tiny_arch, step)
        card = json.loads((folder / "vlp.json").read_text())
        card["versions"] = {"torch": f"0.0.{step}"}
        (folder / "vlp.json").write_text(json.dumps(card))
    text = Page(write_report(run).read_text()).text
    training, evaluation = text.split("Versions")[1].split("Evaluation")
    assert "0.0.2" in training
    assert "0.0.1" not in text
    assert version("torch") in evaluation
    (folder / "vlp.json").write_text("{")
    assert "versions of the training: " in Page(write_report(run).read_text()).text


def test_lines_that_are_no_result_are_counted(run):
    path = run / "eval" / "own" / "results.jsonl"
    good = json.loads(path.read_text().splitlines()[0])
    wrong = [
        [],
        {**good, "metrics": None},
        {**good, "metrics": {"acc1": "high"}},
        {**good, "n": {}},
        {**good, "n": {"classes": "ten", "images": 1, "texts": 1}},
        {**good, "checkpoint": "x"},
        {**good, "checkpoint": {"samples_seen": "many"}},
        {**good, "ci95": {"rsum": [1]}},
        {**good, "ci95": {"rsum": [1, None]}},
        {**good, "dataset": 3},
        {**good, "protocol": "mine"},
    ]
    lines = [json.dumps(line) for line in wrong]
    path.write_text("\n".join([*path.read_text().splitlines(), *lines, "[" * 100_000, "{"]))
    with (run / "metrics.jsonl").open("a") as file:
        file.write('\n{"samples_seen": 1e999}\n{"samples_seen": "7"}\n[]\n')
    text = Page(write_report(run).read_text()).text
    assert "results.jsonl: 13 lines that are no result" in text
    assert "metrics.jsonl: 4 lines that are no logged step" in text
    bare = {name: good[name] for name in ("dataset", "task", "split", "metrics", "n", "checkpoint")}
    path.write_text(json.dumps({**bare, "metrics": {"acc1": None, "mine": 2}}))
    write_report(run)
    assert main(["report", str(run)]) == 0


def test_a_dollar_sign_in_a_name_is_one():
    names = ["$x", "y$", "a $\\frac$ b"]
    uri = figures.confusion(np.eye(3, dtype=np.int64), names)
    picture = base64.b64decode(uri.partition(",")[2]).decode()
    assert "<!-- a $\\frac$ b -->" in picture


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
    assert set(found) == {"runs/a, own", "runs/b, own"}
    assert len(found["runs/a, own"].over_training) == 2
    assert found["runs/a, own"].predictions is not None
    assert found["runs/b, own"].predictions is None  # the file is the newest evaluation's


def test_models_of_one_name_are_told_apart(tmp_path, encoder, own_shards, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = EvalSpec(task="retrieval", data=str(own_shards))
    absolute = str(tmp_path / "a" / "model")
    for path in ("a/model", "b/model", absolute, None):
        evaluate(encoder, task, description={"path": path}, output=tmp_path, show_progress=False)
    found = {benchmark.name: benchmark for benchmark in read_run(tmp_path).benchmarks}
    assert set(found) == {f"{absolute}, own", "b/model, own", "colours none, own"}
    assert len(found[f"{absolute}, own"].records) == 2


def test_a_curve_has_one_protocol(tmp_path, encoder, own_shards):
    task = EvalSpec(task="retrieval", data=str(own_shards))

    class Other(type(encoder)):
        def __init__(self, **changes):
            self.changes = changes

        @property
        def protocol(self):
            return {**super().protocol, **self.changes}

    later, half = Other(logit_scale=99.0), Other(precision="fp16")
    for k, (model, options) in enumerate(
        [(encoder, {}), (later, {"batch": 3, "seed": 1}), (encoder, {"limit": 5}), (half, {})]
    ):
        about = {"path": "runs/a/checkpoints/x/model", "samples_seen": k}
        spec = replace(task, **options)
        evaluate(model, spec, description=about, output=tmp_path, show_progress=False)
    found = {benchmark.name: benchmark for benchmark in read_run(tmp_path).benchmarks}
    assert {name: len(benchmark.records) for name, benchmark in found.items()} == {
        "runs/a, own, precision 'fp32'": 2,
        "runs/a, own, limit 5, precision 'fp32'": 1,
        "runs/a, own, precision 'fp16'": 1,
    }
    rows = [row.benchmark for row in summary_rows(read_run(tmp_path))]
    assert len(set(rows)) == 3


def test_a_seed_that_decides_the_number_parts_the_curves(tmp_path, encoder, own_shards):
    """Of gap it also says which pairs are held out; of retrieval it is that of the intervals."""
    for task in ("geometry", "retrieval"):
        for seed in (0, 1):
            about = {"path": "runs/a/checkpoints/x/model", "samples_seen": seed}
            spec = EvalSpec(task=task, data=str(own_shards), seed=seed)
            evaluate(encoder, spec, description=about, output=tmp_path, show_progress=False)
    found = [(b.task, len(b.records)) for b in read_run(tmp_path).benchmarks]
    assert sorted(found) == [("geometry", 1), ("geometry", 1), ("retrieval", 2)]


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
        ("run noarch --task retrieval --data {own} --output o", "noarch"),
        ("run {cut} --task retrieval --data {own} --output o", "open_clip_model.safetensors"),
        ("run x --task retrieval --data {own} --output o --split val", "no split 'val'"),
        ("run x --task retrieval --data {own} --output o --device gpu", "'gpu': choices are cpu"),
        ("run x --task retrieval --data {own} --output o --device cuda:99", "'cuda:99': choices"),
        ("run x --task retrieval --data {own} --output o --device xpu:9", "'xpu:9': choices are"),
        ("run x --task retrieval --data {own} --output o --device mps:9", "'mps:9': choices are"),
        ("run x --task retrieval --data {own} --output o --device meta", "'meta': choices are"),
        ("run x --task retrieval --data {own} --output o --limit 0", "limit must be at least 1"),
        (
            "run x --task retrieval,geometry --data {own} --output o --caption_method beam",
            "caption_method 'beam': not read by task retrieval, geometry, but by captioning",
        ),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    arguments, message, tmp_path, own_shards, tiny_arch, capsys
):
    (tmp_path / "empty").mkdir()
    cut = publish_tiny(tmp_path / "cut", tiny_arch)
    weights = cut / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    filled = arguments.format(tmp=tmp_path / "empty", own=own_shards, cut=cut).split()
    assert main(filled) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    assert message in error


def publish_tiny(folder, arch, step=4):
    """A model folder."""
    model = build_model(ModelConfig(arch=arch))
    facts = {"step": step, "samples_seen": 64, "weights": "last", "recipe": {}}
    folder.mkdir(parents=True)
    tokenizer = build_tokenizer(model.description.model_cfg)
    publish(folder, model.clip.state_dict(), model.description, tokenizer, facts)
    return folder


def test_command_line_end_to_end(tmp_path, tiny_arch, own_shards, capsys):
    publish_tiny(tmp_path / "model", tiny_arch)
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


def test_a_launcher_without_a_gpu_gives_the_same_numbers(tmp_path, tiny_arch, own_shards):
    publish_tiny(tmp_path / "model", tiny_arch)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    found = []
    for name, start in (("one", [sys.executable]), ("two", launcher)):
        options = f"--task retrieval --data {own_shards} --output {tmp_path / name} --batch 2"
        result = subprocess.run(
            [*start, "-m", "eval", "run", str(tmp_path / "model"), *options.split()],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert result.returncode == 0, result.stderr
        (line,) = (tmp_path / name / "results.jsonl").read_text().splitlines()
        found.append(json.loads(line)["metrics"])
    assert found[0] == found[1]


@pytest.mark.parametrize(("gpus", "cpu"), [(0, True), (1, False)])
def test_the_group_is_one_for_the_device(monkeypatch, gpus, cpu):
    asked = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("eval.__main__.PartialState", lambda cpu: asked.append(cpu) or State())
    assert _join_group(str(checked_device(None))) == "here"
    assert asked == [cpu]


class State:
    device = "here"
