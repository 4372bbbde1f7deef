import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eval.datasets import open_dataset
from eval.prompts import find_prompts
from eval.run import evaluate_tasks
from eval.spec import EvalSpec
from eval.zero_shot import class_weights
from tests.eval.conftest import PALETTE

QUIET = {"description": {}, "output": None, "show_progress": False}
NAMES = sorted(name.replace("_", " ") for name in PALETTE)


def found(data, **options):
    spec = EvalSpec(task="zeroshot_classification", data=str(data), **options)
    return find_prompts(open_dataset(data), spec)


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return str(path)


def test_files_of_lines_and_of_json_say_the_same(class_folders, tmp_path):
    lines = write(tmp_path / "t.txt", "a {c}\n\n the {} \n")
    listed = write(tmp_path / "t.json", ["a {c}", "the {}"])
    of_sets = write(tmp_path / "sets.json", {"other": ["x {c}"], "colours": ["a {c}", "the {}"]})
    for file in (lines, listed, of_sets):
        prompts = found(class_folders, templates=file)
        assert prompts.texts(0) == ["a black", "the black"]
        assert prompts.protocol == found(class_folders, templates=lines).protocol
    upper = [name.upper() for name in NAMES]
    for value in ("\n".join(upper), upper, {"colours": upper}):
        suffix = "txt" if isinstance(value, str) else "json"
        file = write(tmp_path / f"names.{suffix}", value)
        assert found(class_folders, classnames=file).classnames == upper


@pytest.mark.parametrize("folder", ["vtab-pets", "wds_vtab-pets_test", "pets"])
@pytest.mark.parametrize("key", ["vtab/pets", "pets"])
def test_an_entry_is_known_by_the_benchmark(class_folders, tmp_path, folder, key):
    data = class_folders.rename(class_folders.parent / folder)
    file = write(tmp_path / "t.json", {"dtd": ["x {c}"], key: ["a pet {c}"]})
    assert found(data, templates=file).templates == ["a pet {c}"]


def test_a_benchmark_folder_of_an_unknown_name(class_folders, tmp_path):
    data = class_folders.rename(class_folders.parent / "wds_colours_test")
    file = write(tmp_path / "t.json", {"colours": ["a {c}"]})
    assert found(data, templates=file).templates == ["a {c}"]


def test_prompts_of_each_class_in_their_own_number(class_folders, tmp_path):
    own = {name: [f"{name} thing {i}" for i in range(1 + k)] for k, name in enumerate(NAMES)}
    own["red"] = ["the {c} one", "{} again"]
    prompts = found(class_folders, prompts=write(tmp_path / "p.json", own | {"pink": []}))
    assert [len(prompts.texts(label)) for label in range(7)] == [1, 2, 3, 4, 2, 6, 7]
    assert prompts.texts(4) == ["the red one", "red again"]
    assert prompts.protocol["prompts"] == 25
    assert prompts.protocol["prompts_from"] == "file"
    assert "templates_sha" not in prompts.protocol
    nested = found(class_folders, prompts=write(tmp_path / "q.json", {"colours": own}))
    assert nested.protocol == prompts.protocol
    own["red"].reverse()
    turned = found(class_folders, prompts=write(tmp_path / "r.json", own))
    assert turned.protocol["prompts_sha"] != prompts.protocol["prompts_sha"]


def test_each_class_is_the_mean_of_its_own_prompts():
    features = F.normalize(torch.from_numpy(np.random.default_rng(0).normal(size=(6, 5))), dim=-1)
    counts = [1, 3, 2]
    rows = features.numpy().astype(np.float64)
    expected, first = [], 0
    for count in counts:
        mean = sum(rows[first + i] for i in range(count)) / count
        expected.append(mean / np.sqrt(sum(value**2 for value in mean)))
        first += count
    np.testing.assert_allclose(class_weights(features.float(), counts), expected, atol=1e-6)


def test_prompts_reach_the_result(class_folders, encoder, tmp_path):
    own = {name: [f"some {name}", f"{name}"][: 1 + k % 2] for k, name in enumerate(NAMES)}
    spec = EvalSpec(
        task="zeroshot_classification",
        data=str(class_folders),
        prompts=write(tmp_path / "p.json", own),
    )
    record = evaluate_tasks(encoder, spec, (spec.task,), **QUIET)[spec.task]
    assert record["metrics"]["acc1"] == 1.0
    assert record["n"]["texts"] == 10
    assert len(record["protocol"]["prompts_sha"]) == 64


def test_another_language_lies_beside_the_data(class_folders):
    german = ["blau", "dunkelgrau", "gelb", "gruen", "rot", "schwarz", "weiss"]
    write(class_folders / "de_classnames.txt", "\n".join(german))
    template = class_folders / "test" / "de_zeroshot_classification_templates.txt"
    with pytest.raises(FileNotFoundError, match=r"de_zeroshot_classification_templates\.txt"):
        found(class_folders, language="de")
    write(template, "ein Bild von {c}")
    prompts = found(class_folders, language="de")
    assert prompts.texts(1) == ["ein Bild von dunkelgrau"]
    assert prompts.protocol["classnames_from"] == "data_de"
    assert found(class_folders).classnames == NAMES
    with pytest.raises(FileNotFoundError, match=r"'fr': there is no .*fr_classnames\.txt"):
        found(class_folders, language="fr")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("templates", {"dtd": ["{c}"]}, r"has no entry colours; its entries are dtd"),
        ("templates", ["no place"], "has no placeholder"),
        ("templates", [], "expected a list of texts"),
        ("templates", [1], "expected a list of texts"),
        ("templates", {"colours": {"red": ["x"]}}, r"prompts for each class: --prompts"),
        ("templates", "{", "is no JSON"),
        ("classnames", ["a"], "1 class names"),
        ("classnames", [str(k) for k in range(8)], "8 names for the 7 classes"),
        ("prompts", ["x"], r"expected an object \{class name"),
        ("prompts", {"red": ["x"]}, r"none for 6 of 7 classes: black, blue, .*and 1 more"),
        ("prompts", {name: [] for name in NAMES}, "class 'black' needs a list of one or more"),
        ("prompts", {"dtd": {"red": ["x"]}}, "has no entry colours"),
        ("prompts", "[" * 100_000, "is no JSON"),
    ],
)
def test_files_that_cannot_be_used(class_folders, tmp_path, option, value, message):
    file = write(tmp_path / "f.json", value)
    with pytest.raises(ValueError, match=message):
        found(class_folders, **{option: file})


def test_prompts_and_templates_exclude_each_other(class_folders, tmp_path):
    file = write(tmp_path / "p.json", {name: ["x"] for name in NAMES})
    with pytest.raises(ValueError, match=r"give either prompts .* or templates openai"):
        found(class_folders, prompts=file, templates="openai")
    with pytest.raises(FileNotFoundError, match=r"prompts .*: there is no such file"):
        found(class_folders, prompts=str(tmp_path / "none.json"))
