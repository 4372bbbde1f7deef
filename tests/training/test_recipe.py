"""Recipes and the command line: what is accepted, and what is answered to mistakes."""

import re
from pathlib import Path

import pytest
import yaml

import training.recipe
from tests.training.runs import ROOT, write_recipe
from training.config import OptimConfig, check_cadence, seconds
from training.recipe import UsageError, differences, parse

RECIPES = sorted((ROOT / "training" / "recipes").glob("*.yaml"))
OVERLAYS = sorted((ROOT / "training" / "recipes" / "shapes").glob("*.yaml"))


@pytest.fixture
def recipe(tmp_path, tiny_arch, shards) -> Path:
    return write_recipe(tmp_path / "r.yaml", tiny_arch, shards)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_parses_and_says_how_to_run_it_and_what_to_expect(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    parse(["--config", str(path)])
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    text = "\n".join(comments)
    assert f"training/recipes/{path.name}" in text
    assert "-m training.train" in text
    assert re.search(r"Expected: [^\n]*\d", text), "the result, with numbers"


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda p: p.stem)
def test_every_overlay_parses_as_its_command_says_and_tells_what_to_expect(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = "\n".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    configs = re.findall(r"--config (\S+)", text)
    assert configs[-1] == f"training/recipes/shapes/{path.name}"
    parse([word for name in configs for word in ("--config", name)])
    assert re.search(r"(Expected|Measured): [^\n]*\d", text), "the result, with numbers"


def test_every_recipe_that_the_readme_names_exists():
    named = set(re.findall(r"`(\w+\.yaml)`", (ROOT / "README.md").read_text()))
    assert named - {"config.yaml"} == {path.name for path in RECIPES}


def test_the_resolved_recipe_reads_back_as_itself(recipe, tmp_path):
    first = parse(["--config", str(recipe), "--optim.lr", "5e-4"]).recipe
    assert first["optim"]["lr"] == 5e-4
    path = tmp_path / "resolved.yaml"
    path.write_text(yaml.safe_dump(first))
    assert parse(["--config", str(path)]).recipe == first


def test_options_override_the_recipe(recipe):
    options = ["--objectives.contrastive.init_args.label_smoothing", "0.25", "--data.workers", "3"]
    config = parse(["--config", str(recipe), *options]).config
    assert config.objectives["contrastive"].label_smoothing == 0.25
    assert config.data.workers == 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--optim.lrr", "1"], "optim.lrr"),
        (["--samples", "many"], "samples"),
        (["--batch", "0"], "batch must be at least 1, got 0"),
        (["--seed", "-1"], "seed must not be negative, got -1"),
        (["--precision", "fp8"], "fp8"),
        (["--checkpoint.every", "10minutes"], "checkpoint.every must be a number of samples or"),
        (["--optim.lr", "-1"], "optim.lr must be positive, got -1"),
        (["--data.augment.scale", "[0.9, 0.1]"], "data.augment.scale must be 0 < low <= high <= 1"),
        (["--watchdog", "0s"], "watchdog must be like 30s"),
        (["--schedule.cooldown", "16"], "a cooldown belongs to constant_cooldown"),
        (["--micro_batch", "0"], "micro_batch must be at least 1"),
        (
            ["--objectives.contrastive.class_path", "vlp.objectives.InfoNEC"],
            "vlp.objectives.InfoNCE, vlp.objectives.Sigmoid",
        ),
        (["--objectives.contrastive.init_args.label_smoothing", "2"], "label_smoothing must be in"),
        (["--objectives.contrastive.init_args.smoothing", "0.1"], "smoothing"),
    ],
)
def test_mistakes_are_named(recipe, options, expected):
    with pytest.raises(UsageError) as caught:
        parse(["--config", str(recipe), *options])
    assert expected in str(caught.value)


def test_a_repeated_key_is_refused(recipe):
    recipe.write_text(recipe.read_text() + "\nbatch: 24\n")
    with pytest.raises(UsageError, match="the key 'batch' stands there twice"):
        parse(["--config", str(recipe)])


def test_an_unfilled_template_is_named(recipe):
    recipe.write_text(recipe.read_text() + "\nprecision: {{precision}}\n")
    with pytest.raises(UsageError, match="is no key; an unfilled template"):
        parse(["--config", str(recipe)])


def test_options_before_the_recipe_are_refused(recipe):
    with pytest.raises(UsageError, match="--config comes first"):
        parse(["--batch", "24", "--config", str(recipe)])


def test_a_warm_up_longer_than_the_run_is_pointed_out(recipe, caplog):
    parse(["--config", str(recipe), "--schedule.warmup", "1000"])
    assert "longer than the 288 samples of the run" in caplog.text


def test_no_arguments_name_what_is_missing():
    with pytest.raises(UsageError, match="run"):
        parse([])


def test_a_recipe_that_is_not_there_is_named():
    with pytest.raises(UsageError, match=r"there is no file none.yaml"):
        parse(["--config", "none.yaml"])


def test_a_user_class_plugs_in_by_its_dotted_path(recipe, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from vlp.objectives import InfoNCE\n\n\nclass Mine(InfoNCE):\n"
        "    def __init__(self, *, margin: float, weight: float = 1.0) -> None:\n"
        "        super().__init__(weight=weight)\n        self.margin = margin\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    options = ["--objectives.mine.class_path", "mine.Mine", "--objectives.mine.init_args.margin"]
    config = parse(["--config", str(recipe), *options, "0.3"]).config
    assert config.objectives["mine"].margin == 0.3
    assert list(config.objectives) == ["contrastive", "mine"]


def test_differences_leave_out_what_does_not_change_the_weights():
    old = {"a": 1, "data": {"workers": 1, "augment": {"flip": 0}}, "log": {"every": 1}, "run": "x"}
    new = {"a": 1, "data": {"workers": 2, "augment": {"flip": 1}}, "log": {"every": 2}, "run": "y"}
    assert differences(old, new) == ["data.augment.flip: 0 -> 1"]
    assert set(training.recipe.FREE) >= {"data.workers", "log"}


@pytest.mark.parametrize(("text", "value"), [("30s", 30), ("10min", 600), ("1.5h", 5400)])
def test_durations(text, value):
    assert seconds(text) == value
    check_cadence("x", text)


def test_cadences_are_positive():
    with pytest.raises(ValueError, match="at least 1 sample"):
        check_cadence("log.every", 0)
    with pytest.raises(ValueError, match=r"optim.clip_grad_norm must be positive"):
        OptimConfig(clip_grad_norm=0.0)
