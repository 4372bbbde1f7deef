import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import webdataset
import yaml

from eval import listing, results, runner
from eval.benchmarks import BENCHMARKS, FILE, SUITES, of_folder
from eval.runner import Settings, run_checkpoint
from eval.spec import EvalSpec
from eval.suites import find_folder, plan
from eval.tasks import TASKS
from tests.eval.conftest import ColourEncoder, picture

DATA = Path(__file__).parents[3] / "shared" / "data"


def spec(**options):
    return EvalSpec(task="", data="", **options)


@pytest.fixture
def root(tmp_path, class_folders, benchmark_captions):
    """A folder with three benchmarks, each by another of its names."""
    root = tmp_path / "root"
    shutil.copytree(class_folders, root / "stl10")
    shutil.copytree(class_folders, root / "wds_vtab-dtd_test")
    shutil.copytree(benchmark_captions, root / "wds_flickr8k")
    return root


def test_every_name_in_the_file_is_known():
    assert {task for own in BENCHMARKS.values() if (task := own.task)} <= TASKS.keys()
    for entries in SUITES.values():
        for entry in entries:
            assert set(entry.tasks) <= TASKS.keys()
            assert entry.tasks or entry.benchmark.reason
    assert {own.shift_of for own in BENCHMARKS.values()} == {None, "imagenet1k"}
    for own in BENCHMARKS.values():
        assert set(own.recalled) <= {"n", "classes", "chance"}
        assert (own.task is None) == (own.reason is not None)
    written = yaml.safe_load(FILE.read_text())["suites"]
    assert {name: len(own) for name, own in written.items()} == {
        name: len({entry.benchmark.name for entry in own}) for name, own in SUITES.items()
    }


def test_no_folder_belongs_to_two_benchmarks():
    folders = [name for own in BENCHMARKS.values() for name in own.folders]
    assert len(folders) == len(set(folders))
    for name in ("vtab/pets", "vtab-pets", "wds_vtab-pets_test", "pets", "wds_pets"):
        assert of_folder(name) is BENCHMARKS["vtab/pets"]
    assert of_folder("wds_flickr30k").task == "retrieval"
    assert of_folder("my_pets") is None


@pytest.mark.skipif(not (DATA / "metadata").is_dir(), reason="DataComp's task list is not here")
def test_the_38_tasks_of_datacomp():
    listed = yaml.safe_load((DATA / "metadata" / "datacomp_tasklist.yml").read_text())
    assert listed.keys() <= BENCHMARKS.keys() | {"fairness/fairface", "fairness/utkface"}
    for name, facts in listed.items():
        own = BENCHMARKS[name]
        assert own.n == facts["size"]
        assert own.classes == facts.get("num_classes")
        if own.chance is not None:
            assert own.chance == facts["random_score"]
        main = own.main or (TASKS[own.task].main if own.task else None)
        theirs = facts.get("main_metric", "acc1")
        if not name.startswith(("fairness/", "misc/")):
            assert main == theirs
    left = {"fairness/fairface", "fairness/utkface"}
    assert {entry.benchmark.name for entry in SUITES["datacomp38"]} == listed.keys() - left
    assert len(SUITES["datacomp38"]) == 38


def test_folders_are_found_by_their_names(root):
    jobs, problems = plan("quick", root, spec(batch=3, seed=5))
    assert [(job.name, Path(job.spec.data).name, job.tasks) for job in jobs] == [
        ("stl10", "stl10", ("zeroshot_classification",)),
        ("vtab/dtd", "wds_vtab-dtd_test", ("zeroshot_classification",)),
        ("flickr8k", "wds_flickr8k", ("retrieval",)),
    ]
    assert {(job.spec.batch, job.spec.seed, job.spec.task) for job in jobs} == {
        (3, 5, "zeroshot_classification"),
        (3, 5, "retrieval"),
    }
    assert len(problems) == 4
    assert (
        f"vtab/pets: no folder in {root}; looked for vtab/pets, pets, also with - for /, and as "
        "wds_NAME and wds_NAME_test"
    ) in problems


@pytest.mark.parametrize("name", BENCHMARKS["vtab/pets"].folders)
def test_each_name_of_a_folder(tmp_path, name):
    (tmp_path / name).mkdir(parents=True)
    assert find_folder(BENCHMARKS["vtab/pets"], tmp_path) == (tmp_path / name, None)


def test_a_folder_that_several_share(tmp_path):
    (tmp_path / "aro").mkdir()
    jobs, problems = plan("compositional", tmp_path, spec())
    assert [(job.name, job.spec.split) for job in jobs] == [
        ("aro_vg_relation", "visual_genome_relation"),
        ("aro_vg_attribution", "visual_genome_attribution"),
    ]
    assert all(job.spec.data == str(tmp_path / "aro") for job in jobs)
    assert len(problems) == len(SUITES["compositional"]) - 2


def test_what_has_no_task_is_said(tmp_path):
    (tmp_path / "misc-winogavil").mkdir()
    (tmp_path / "caltech101").mkdir()
    jobs, problems = plan("datacomp38", tmp_path, spec())
    assert [(job.name, job.main) for job in jobs] == [("vtab/caltech101", "mean_per_class_recall")]
    assert len(problems) == 37
    (said,) = (problem for problem in problems if problem.startswith("misc/winogavil"))
    assert "no task here, as it asks for sets of pictures" in said


def test_options_reach_the_jobs_that_read_them(root):
    jobs, _ = plan("quick", root, spec(templates="openai", captions="rewrites"))
    given = {job.name: (job.spec.templates, job.spec.captions) for job in jobs}
    assert given == {
        "stl10": ("openai", None),
        "vtab/dtd": ("openai", None),
        "flickr8k": (None, "rewrites"),
    }
    with pytest.raises(ValueError, match="shots 3: not read by task"):
        plan("quick", root, spec(shots=3))


def test_geometry_runs_on_sets_for_retrieval(root):
    (job,), problems = plan("geometry", root, spec())
    assert (job.name, job.tasks, job.main) == ("flickr8k", ("geometry",), None)
    assert len(problems) == 2


def test_mistakes(tmp_path):
    with pytest.raises(ValueError, match="suite 'all': choices are quick, vtab"):
        plan("all", tmp_path, spec())
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        plan("quick", tmp_path / "nowhere", spec())


def fmow(folder, groups):
    """Pictures in three colours with a region each, and the fourth in region 5, "Other"."""
    (folder / "test").mkdir(parents=True)
    (folder / "classnames.txt").write_text("red\ngreen\nblue\n")
    (folder / "test" / "nshards.txt").write_text("1\n")
    colours = [(220, 30, 30), (30, 180, 30), (30, 180, 30), (30, 30, 220)]
    with webdataset.TarWriter(str(folder / "test" / "0.tar")) as tar:
        for n, (colour, region) in enumerate(zip(colours, [0, 1, 1, 5], strict=True)):
            label = (0, 1, 0, 0)[n]  # the third and fourth are wrong
            sample = {"__key__": f"s{n:07d}", "png": picture(colour, n), "cls": label}
            tar.write(sample | ({"npy": np.array([region, 2000, label])} if groups else {}))
    return folder


@pytest.mark.parametrize("groups", [True, False])
def test_the_main_metric_of_a_benchmark_reaches_the_record(tmp_path, monkeypatch, groups):
    fmow(tmp_path / "wds_wilds-fmow_test", groups)
    (job,) = (j for j in plan("datacomp38", tmp_path, spec(batch=2))[0] if j.name == "wilds/fmow")
    monkeypatch.setattr(runner, "load", lambda *_, **__: ColourEncoder())
    output = tmp_path / "out"
    settings = Settings(output=output, cache=None, device="cpu", precision="fp32")
    report = run_checkpoint("x", [job], settings, lambda _: None)
    (record,) = results.read(output)[0]
    assert (record["dataset"], record["metrics"]["acc1"]) == ("wilds/fmow", 0.5)
    if groups:
        assert (record["main"], report.problems) == ("acc_worst_region", [])
        assert record["metrics"]["acc_worst_region"] == 0.5  # of Europe; Other has 0
    else:
        assert record["main"] == "acc1"
        (said,) = report.problems
        assert said.endswith(
            "wilds/fmow, zeroshot_classification: its main metric acc_worst_region is not reported "
            "on this data, but acc1 is"
        )
    again = run_checkpoint("x", [job], settings, lambda _: None)
    assert (again.finished_before, again.problems) == (1, report.problems)
    assert len(results.read(output)[0]) == 1


def test_the_list_for_people(capsys):
    assert listing.list_tasks() == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    for name in (*TASKS, *BENCHMARKS):
        assert any(line.startswith(name) for line in lines)
    assert "~7,178" in text
    assert "mean_per_class_recall  vtab, vtab+, datacomp38" in text
    for layout in ("clip_benchmark", "class_folders", "sugar_crepe"):
        assert any(line.startswith(layout) for line in lines)


def test_the_list_for_machines(capsys):
    listing.list_tasks(json=True)
    content = json.loads(capsys.readouterr().out)
    assert [task["name"] for task in content["tasks"]] == list(TASKS)
    known = {own["name"]: own for own in content["benchmarks"]}
    assert known["vtab/pets"]["folders"] == list(BENCHMARKS["vtab/pets"].folders)
    assert known["wilds/fmow"]["groups"] == {"region": {"column": 0, "without": [5]}}
    assert content["suites"]["counting"] == [{"benchmark": "countbench", "tasks": ["counting"]}]


@pytest.mark.parametrize("width", [None, 70, 40, 10])
def test_a_table_keeps_its_words(width):
    rows = [("a_rather_long_name", "some words that are many", "1"), ("b", "", "22,222")]
    text = listing.table(("name", "about it", "n"), rows, width)
    words = {word for row in rows for cell in row for word in cell.split()}
    assert words <= set(text.split())
    lines = text.splitlines()
    if width is None:
        assert len(lines) == 4
        assert lines[2] == "a_rather_long_name  some words that are many  1"
    if width in (40, 70):
        assert max(map(len, lines)) <= width
