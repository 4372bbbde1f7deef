"""Results of a checkpoint, as its run or a file holds them."""

import json

import pytest

from vlp.errors import InputError
from vlp.run_results import read_results, read_results_file

CARD = {"name": "tiny", "act": "gelu", "weights": "last", "samples_seen": 10}


def line(value, fingerprint="f2", **more):
    record = {"dataset": "shapes", "task": "retrieval", "metrics": {"recall": value}}
    return json.dumps({**record, "checkpoint": {"sha256": fingerprint}, **more})


@pytest.fixture
def run(tmp_path):
    for step in (1, 2):
        folder = tmp_path / f"checkpoints/step-{step:09d}/model"
        folder.mkdir(parents=True)
        (folder.parent / "complete.json").write_text("{}")
        (folder / "open_clip_config.json").write_text("{}")
        (folder / "vlp.json").write_text(
            json.dumps({**CARD, "fingerprint": f"f{step}", "step": step})
        )
    for name in ("one", "two"):
        (tmp_path / "eval" / name).mkdir(parents=True)
    return tmp_path


def values(records):
    return [record["metrics"]["recall"] for record in records]


def test_results_are_those_of_the_checkpoint(run):
    lines = [line(0.1, "f1"), line(0.2), line(0.3, "f1", split="val")]
    (run / "eval/one/results.jsonl").write_text("\n".join(lines) + "\n")
    (run / "eval/two/results.jsonl").write_text(line(0.4, split="val") + "\n")
    assert values(read_results(run)) == [0.2, 0.4]
    assert values(read_results(run / "checkpoints/step-000000001")) == [0.1, 0.3]
    assert values(read_results(run / "checkpoints/step-000000002/model")) == [0.2, 0.4]


def test_of_two_results_of_one_benchmark_the_newer_counts(run):
    lines = [line(0.1), line(0.2, task="other"), line(0.3)]
    (run / "eval/one/results.jsonl").write_text("\n".join(lines))
    assert values(read_results(run)) == [0.2, 0.3]


def test_torn_lines_are_named(run, caplog):
    torn = ['{"dataset": "sh', "[]", '{"dataset": 1, "task": "a", "metrics": {}}', "[" * 100_000]
    (run / "eval/one/results.jsonl").write_text("\n".join([*torn, "", line(0.2)]))
    assert values(read_results(run)) == [0.2]
    assert "results.jsonl: 4 lines are no result" in caplog.text


def test_a_model_outside_a_run_has_none(run, tmp_path):
    assert read_results(tmp_path / "absent") == []
    model = (run / "checkpoints/step-000000001/model").rename(tmp_path / "model")
    assert read_results(model) == []
    (model / "vlp.json").unlink()
    assert read_results(model) == []
    assert read_results(run) == []


def test_a_file_of_results(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(line(0.1, "f1") + "\n" + line(0.2, "f1", split="val") + "\n")
    assert values(read_results_file(path)) == [0.1, 0.2]
    with pytest.raises(InputError, match="absent cannot be read: No such file"):
        read_results_file(tmp_path / "absent")
    path.write_text(line(0.1) + "\n{}\n")
    with pytest.raises(InputError, match="line 2 is no result; a result is a JSON object with"):
        read_results_file(path)
    path.write_text("")
    with pytest.raises(InputError, match="it is empty"):
        read_results_file(path)
