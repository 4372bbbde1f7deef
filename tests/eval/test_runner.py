"""Many checkpoints on many benchmarks: what fails, what is finished, and mistakes of the user."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eval import predictions, results, runner
from eval.__main__ import FAILED, INTERRUPTED, MISUSED, main
from eval.datasets import open_dataset
from eval.features import Features
from eval.run import evaluate, evaluate_task, prepare
from eval.runner import Job, Settings, run_checkpoint
from eval.spec import EvalSpec
from eval.tasks import TASKS
from tests.eval.conftest import ColourEncoder, ConstantEncoder

ROOT = Path(__file__).parents[2]


class Broken(ColourEncoder):
    fingerprint = "b" * 64

    def encode_image(self, images):
        return super().encode_image(images) * torch.nan


class Constant(ConstantEncoder):
    fingerprint = "c" * 64


@pytest.fixture
def models(monkeypatch):
    """What can be loaded, by name; `asked` are the pictures that were encoded."""
    found = {"colours": ColourEncoder(), "constant": Constant(), "broken": Broken()}

    def load(source, **how):
        if source not in found:
            raise FileNotFoundError(f"{source} does not exist")
        return found[source]

    monkeypatch.setattr(runner, "load", load)
    return found


def run(*arguments):
    return main(["run", *map(str, arguments), "--device", "cpu"])


def settings_of(folder, **options):
    options = {"cache": folder / "cache", "device": "cpu", "precision": "fp32", **options}
    return Settings(output=folder, **options)


def job(data, *tasks, name=None, main=None, **options):
    spec = EvalSpec(task=tasks[0], data=str(data), batch=4, **options)
    return Job(spec=spec, tasks=tasks, name=name, main=main)


def no_work(monkeypatch):
    monkeypatch.setattr(runner, "evaluate_task", lambda *given: pytest.fail("computed again"))


def test_two_checkpoints_of_which_one_is_broken(models, class_folders, tmp_path, capsys):
    given = ("--task", "zeroshot_classification", "--data", class_folders, "--output", tmp_path)
    assert run("colours", "broken", "constant", "nowhere", *given) == FAILED
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        f"not evaluated: broken: {class_folders}, zeroshot_classification: the model gives NaN or "
        "infinity for 21 of 21 pictures, the first: 'black/0.png'; its weights are broken or the "
        "precision too low",
        "not evaluated: nowhere: nowhere does not exist",
    ]
    assert f"2 results (0 of them finished before): {tmp_path / 'results.jsonl'}" in said.out
    records, torn = results.read(tmp_path)
    assert torn == 0
    assert [record["metrics"]["acc1"] for record in records] == [1.0, 0.0]
    assert len({record["predictions"] for record in records}) == 2
    for record in records:
        saved = predictions.read(tmp_path / record["predictions"])
        found = predictions.outcomes(saved)
        assert {name: outcome.value for name, outcome in found.items()} == record["metrics"]
    assert run("nowhere", *given) == MISUSED
    assert capsys.readouterr().err == "error: nowhere does not exist\n"


def test_a_benchmark_that_fails_stops_no_other(
    models, class_folders, own_shards, tmp_path, monkeypatch
):
    broken = tmp_path / "broken"
    shutil.copytree(class_folders, broken)
    for file in broken.rglob("*.png"):
        file.write_bytes(b"none")
    jobs = [
        job(tmp_path / "gone", "retrieval", name="first"),
        job(broken, "zeroshot_classification"),
        job(own_shards, "captioning", "retrieval", name="mine"),
        job(class_folders, "zeroshot_classification"),
    ]
    said = []
    report = run_checkpoint("colours", jobs, settings_of(tmp_path / "out"), said.append)
    assert [(record["dataset"], record["task"]) for record in report.records] == [
        ("mine", "retrieval"),
        ("colours", "zeroshot_classification"),
    ]
    for problem, start, reason in zip(
        report.problems,
        ("colours: first: ", f"colours: {broken}, zeroshot_classification: ", "colours: mine, cap"),
        ("does not exist", "none of 21 pictures can be read; the first: black", "writes captions"),
        strict=True,
    ):
        assert problem.startswith(start)
        assert reason in problem
    assert len(said) == 2
    assert report.finished_before == 0
    no_work(monkeypatch)
    jobs.remove(jobs[1])  # which would be tried again
    again = run_checkpoint("colours", jobs, settings_of(tmp_path / "out"), said.append)
    assert again.records == report.records
    assert again.problems == report.problems[::2]
    assert again.finished_before == 2


def test_a_program_error_is_no_failed_benchmark(models, class_folders, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "evaluate_task", lambda *given: {}["mistake"])
    jobs = [job(class_folders, "zeroshot_classification")]
    with pytest.raises(KeyError, match="mistake"):
        run_checkpoint("colours", jobs, settings_of(tmp_path), print)


def test_what_is_finished_is_not_computed_again(models, own_shards, tmp_path, capsys, monkeypatch):
    given = ("colours", "--task", "retrieval,geometry", "--data", own_shards, "--output", tmp_path)
    assert run(*given) == 0
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert len(lines) == 2
    capsys.readouterr()
    with monkeypatch.context() as patch:
        no_work(patch)
        assert run(*given, "--workers", 1) == 0
        said = capsys.readouterr().out
        assert said.count(", finished before\n") == 2
        assert "2 results (2 of them finished before)" in said
    assert run(*given[:1], "--task", "geometry", *given[3:], "--recompute") == 0
    assert "1 result (0 of them finished before)" in capsys.readouterr().out
    records = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [record["task"] for record in records] == ["retrieval", "geometry", "geometry"]
    assert records[1]["predictions"] == records[2]["predictions"]
    (tmp_path / records[0]["predictions"]).unlink()
    assert run(*given) == 0  # what its predictions are gone of is no result to compare
    assert "2 results (1 of them finished before)" in capsys.readouterr().out


def test_files_that_an_option_names_may_change(models, class_folders, tmp_path, capsys):
    templates = tmp_path / "t.txt"
    given = ("colours", "--task", "zeroshot_classification", "--data", class_folders)
    given += ("--output", tmp_path / "out", "--templates", templates)
    for text, computed in (("a {c}\n", 1), ("a {c}\n", 0), ("the {c}\n", 1), ("a {c}\n", 0)):
        templates.write_text(text)
        assert run(*given) == 0
        assert f"1 result ({1 - computed} of them" in capsys.readouterr().out
    templates.rename(tmp_path / "moved.txt")
    assert run(*given[:-1], tmp_path / "moved.txt") == 0
    assert "1 result (1 of them" in capsys.readouterr().out


def test_results_of_training_are_finished_only_as_far_as_their_predictions_are_their_own(
    own_shards, tmp_path
):
    """There a task has one file of predictions, and it is that of the last evaluation."""
    spec = EvalSpec(task="retrieval", data=str(own_shards))
    for model in (ColourEncoder(), Constant()):
        evaluate(model, spec, description={}, output=tmp_path, show_progress=False)
    records, _ = results.read(tmp_path)
    assert len(records) == 2
    assert results.find_finished(tmp_path) == {records[1]["key"]: records[1]}


def test_lines_that_lack_something_are_no_finished_results(own_shards, tmp_path):
    spec = EvalSpec(task="retrieval", data=str(own_shards))
    evaluate(ColourEncoder(), spec, description={}, output=tmp_path, show_progress=False)
    path = tmp_path / "results.jsonl"
    record = json.loads(path.read_text())
    for change in ({"predictions": None}, {"predictions": 3}, {"key": None}):
        path.write_text(json.dumps({**record, **change}) + "\n")
        assert not set(results.find_finished(tmp_path)) - {None}
    del record["key"]
    path.write_text(json.dumps(record) + "\n" + json.dumps(record)[:-9])
    assert results.find_finished(tmp_path) == {}


def test_an_interval_that_is_not_defined_is_none(models, class_folders, own_shards):
    """A bound that is no number would make the whole line none."""
    dataset = open_dataset(class_folders)
    prepared = prepare(dataset, EvalSpec(task="x", data="y"), "zeroshot_classification")
    _, result = evaluate_task(Features(ColourEncoder()), prepared, {})
    nan = float("nan")
    result = replace(result, ci95={"x": (nan, nan), "y": (0.0, float("inf")), "z": (0.0, 1.0)})
    record = results.build_record("x", result, dataset, ColourEncoder(), {})
    assert (record["ci95"]["x"], record["ci95"]["y"]) == (None, None)
    assert record["ci95"]["z"] == [0.0, 1.0]


def test_the_main_metric_of_a_benchmark(models, class_folders, tmp_path):
    task = "zeroshot_classification"
    plain, per_class = job(class_folders, task), job(class_folders, task, main="acc5")
    wrong = job(class_folders, task, main="acc9")
    settings = settings_of(tmp_path)
    report = run_checkpoint("colours", [plain, per_class, wrong], settings, lambda text: None)
    assert [record["main"] for record in report.records] == ["acc1", "acc5", "acc1"]
    assert report.problems == [
        f"colours: {class_folders}, {task}: its main metric acc9 is not reported on this data, "
        "but acc1 is"
    ]
    again = run_checkpoint("colours", [per_class, plain], settings, lambda text: None)
    assert ([r["main"] for r in again.records], again.problems) == (["acc5", "acc1"], [])
    assert again.finished_before == 2


MISUSES = [
    ([], "run needs either --task NAME or --suite NAME"),
    (["--task", "geometry", "--suite", "vtab+"], "run needs either --task NAME or --suite NAME"),
    (["--task", "retreival"], f"task 'retreival': choices are {', '.join(TASKS)}"),
    (["--task", "geometry,"], "task '': choices are"),
    (["--suite", "all"], "suite 'all': choices are"),
    (
        ["--task", "geometry", "--templates", "openai"],
        "templates 'openai': not read by task geometry, but",
    ),
    (["--task", "geometry", "--batch", "0"], "batch must be at least 1, got 0"),
    (["--task", "counting"], "needs captions"),
    (["--task", "geometry", "--split", "train"], "has no split 'train'"),
]


@pytest.mark.parametrize(("arguments", "message"), MISUSES, ids=lambda value: str(value)[:40])
def test_mistakes_are_named_before_anything_is_loaded(
    arguments, message, class_folders, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(runner, "load", lambda *given, **how: pytest.fail("loaded"))
    given = ["run", "x", "--data", str(class_folders), "--output", str(tmp_path / "out")]
    assert main([*given, *arguments]) == MISUSED
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_named_first(
    class_folders, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(runner, "load", lambda *given, **how: pytest.fail("loaded"))
    (tmp_path / "file").write_text("")
    given = ("--task", "zeroshot_classification", "--data", class_folders)
    assert run("x", *given, "--output", tmp_path / "file" / "out") == MISUSED
    assert capsys.readouterr().err == (
        f"error: output {tmp_path / 'file' / 'out'} cannot be written: Not a directory\n"
    )


def test_an_interruption_is_one_line(models, class_folders, tmp_path, capsys, monkeypatch):
    def stop(*given, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "evaluate_task", stop)
    given = ("--task", "zeroshot_classification", "--data", class_folders, "--output", tmp_path)
    assert run("colours", *given) == INTERRUPTED
    assert capsys.readouterr().err == "interrupted: what is finished is kept\n"


def test_an_unknown_device_is_named(models, class_folders, tmp_path, capsys):
    given = ("--task", "zeroshot_classification", "--data", class_folders, "--output", tmp_path)
    assert main(["run", "colours", *map(str, given), "--device", "gpu"]) == MISUSED
    assert "device 'gpu': choices are cpu" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "x", "--task", "geometry", "--data", "y"], "output"),
        (
            ["run", "x", "--task", "geometry", "--data", "y", "--output", "z", "--bacth", "3"],
            "--bacth",
        ),
        (
            ["run", "x", "--task", "geometry", "--data", "y", "--output", "z", "--batch", "many"],
            "batch",
        ),
        (["run", "--task", "geometry", "--data", "y", "--output", "z"], "checkpoint"),
        (["walk"], "walk"),
        ([], "run"),
    ],
)
def test_what_cannot_be_parsed_is_named(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == MISUSED
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert message in said


def worker(model, *arguments, ranks=None):
    start = [sys.executable]
    if ranks is not None:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    return subprocess.run(
        [*start, "-m", "tests.eval.runner_worker", model, "run", "x", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_a_run_that_was_killed_goes_on(models, own_shards, tmp_path, capsys, monkeypatch):
    given = ("--task", "retrieval,geometry", "--data", own_shards, "--output", tmp_path / "out")
    found = worker("killed", *given)
    assert found.returncode == -9, found.stderr
    records, torn = results.read(tmp_path / "out")
    assert ([record["task"] for record in records], torn) == (["retrieval"], 0)
    models["x"] = ColourEncoder()
    for name in ("encode_image", "encode_text"):  # what was encoded until then is kept
        monkeypatch.setattr(ColourEncoder, name, lambda *given: pytest.fail("encoded"))
    assert run("x", *given) == 0
    assert "2 results (1 of them finished before)" in capsys.readouterr().out
    assert [record["task"] for record in results.read(tmp_path / "out")[0]] == [
        "retrieval",
        "geometry",
    ]


def test_two_ranks_give_what_one_does(models, own_shards, tmp_path):
    """Encoded, and read from the cache: the ranks of a process group, not of threads."""
    (own_shards / "test" / "00001.tar").write_bytes(
        (own_shards / "test" / "00001.tar").read_bytes()
    )
    given = ("--task", "retrieval,geometry", "--data", own_shards, "--batch", 3, "--device", "cpu")
    found = worker("colours", *given, "--output", tmp_path / "two", ranks=2)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("2 results (0 of them finished before)") == 2  # said by one rank
    models["x"] = ColourEncoder()
    assert run("x", *given[:-2], "--output", tmp_path / "one") == 0
    one, two = (results.read(tmp_path / name)[0] for name in ("one", "two"))
    assert [record["task"] for record in two] == ["retrieval", "geometry"] * 2
    for place, record in enumerate(two):
        for name in ("metrics", "ci95", "n", "key", "protocol"):
            assert record[name] == one[place % 2][name]
    caches = [sorted((tmp_path / name / "cache").rglob("*.*")) for name in ("one", "two")]
    assert [[file.name for file in files] for files in caches] == [[f.name for f in caches[0]]] * 2
    assert [f.read_bytes() for f in caches[0]] == [f.read_bytes() for f in caches[1]]
