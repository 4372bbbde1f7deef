"""Of what a result depends on, everything is of its key, and nothing else."""

import os
import shutil

import pytest

from eval.datasets import open_dataset
from eval.result_key import key_of
from eval.run import prepare
from eval.spec import EvalSpec
from tests.eval.conftest import PALETTE, ColourEncoder, ConstantEncoder, picture
from tests.eval.grey import CAPTIONS, write_counts, write_negatives, write_sidecar


class Constant(ConstantEncoder):
    fingerprint = "c" * 64


def key(data, task, model=None, main=None, **options):
    spec = EvalSpec(task=task, data=str(data), **options)
    prepared = prepare(open_dataset(data).limited(spec.limit), spec, task, main=main)
    return prepared.key(model or ColourEncoder())


@pytest.mark.parametrize(
    "options",
    [{"seed": 1}, {"limit": 5}, {"batch": 7}, {"templates": "openai"}, {"main": "acc5"}],
    ids=str,
)
def test_options_that_decide_are_of_the_key(options, class_folders):
    task = "zeroshot_classification"
    assert key(class_folders, task) != key(class_folders, task, **options)


def test_what_decides_a_result_is_of_its_key(class_folders, tmp_path, monkeypatch):
    task = "zeroshot_classification"
    before = key(class_folders, task)
    assert key(class_folders, task) == before
    assert key(class_folders, task, workers=2) == before
    (tmp_path / task).write_text("files that are called as the value of an option is")
    (tmp_path / "en").write_text("say nothing")
    monkeypatch.chdir(tmp_path)
    assert key(class_folders, task) == before
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(class_folders, tmp_path / "elsewhere" / "colours")  # with the times
    assert key(tmp_path / "elsewhere" / "colours", task) == before
    assert key(class_folders, task, Constant()) != before
    assert key(class_folders, "calibration") != before
    seen = {before}

    def changed():
        found = key(class_folders, task)
        assert found not in seen
        seen.add(found)

    file = class_folders / "test" / "red" / "0.png"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    changed()
    (class_folders / "zeroshot_classification_templates.txt").write_text("the {c}\n")
    changed()
    (class_folders / "zeroshot_classification_templates.txt").write_text("a {c}\n")
    changed()
    names = "\n".join(PALETTE)
    (class_folders / "classnames.txt").write_text(names)
    changed()
    (class_folders / "test" / "red" / "7.png").write_bytes(picture((200, 0, 0)))
    changed()


def test_sidecars_are_of_the_key(counted):
    write_negatives(counted)
    tasks = ("counting", "image_caption_selection", "geometry")
    before = {task: key(counted, task) for task in tasks}
    write_counts(counted)
    after = {task: key(counted, task) for task in tasks}
    write_negatives(counted, kinds=("a", "b"))
    last = key(counted, tasks[1])
    assert len({before[tasks[1]], after[tasks[1]], last}) == 3
    assert before["counting"] != after["counting"]
    write_sidecar(counted, "mine", [{"texts": ["a dog"]} for _ in CAPTIONS])
    own = key(counted, "retrieval", captions="mine")
    write_sidecar(counted, "mine", [{"texts": ["a cat"]} for _ in CAPTIONS])
    assert own != key(counted, "retrieval", captions="mine")


def test_further_sets_are_of_the_key(class_folders):
    dataset = open_dataset(class_folders)
    spec = EvalSpec(task="x", data=str(class_folders))
    keys = {
        key_of(ColourEncoder(), spec, dataset, more, "acc1")
        for more in ({}, {"train": dataset}, {"ood": dataset}, {"train": dataset.limited(3)})
    }
    assert len(keys) == 4
