"""Sharded parameters train as copies do, and a run goes on under either."""

import json

import pytest

from tests.training.runs import train, write_recipe

STEPS = 6
MIXED = {
    "contrastive": {"class_path": "vlp.objectives.InfoNCE"},
    "captioning": {"class_path": "vlp.objectives.Captioning"},
    "global": {
        "class_path": "vlp.objectives.SogCLR",
        "init_args": {"temperature": 0.2, "individual": {"rho": 2.0}},
    },
}


def write(tmp_path, name, tiny_arch, shards, **changes):
    folder = tmp_path / name
    folder.mkdir()
    return write_recipe(
        folder / "r.yaml",
        tiny_arch,
        shards,
        samples=12 * STEPS,
        model={"arch": tiny_arch, "captioner": {"layers": 1, "heads": 2}},
        objectives=MIXED,
        ema=None,
        checkpoint={"every": 36, "keep": 3},
        **{"eval": {"every": 48, "tasks": {"own": {"task": "retrieval", "data": "@tiny"}}}}
        | changes,
    )


def curve(recipe):
    lines = (recipe.parent / "run" / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    names = ("loss", "grad_norm", "scale", *(f"loss/{name}" for name in MIXED))
    return [[line[name] for name in names] for line in found]


def scores(recipe):
    path = recipe.parent / "run" / "eval" / "own" / "results.jsonl"
    return [json.loads(line)["metrics"] for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def copies(tmp_path_factory, tiny_arch, shards):
    recipe = write(tmp_path_factory.mktemp("ddp"), "ddp", tiny_arch, shards)
    done = train(recipe, processes=2)
    assert done.returncode == 0, done.stderr[-3000:]
    return recipe


@pytest.mark.parametrize("changes", [{}, {"micro_batch": 4}], ids=["one pass", "micro-batches"])
def test_sharded_parameters_give_the_same_losses(tmp_path, tiny_arch, shards, copies, changes):
    recipe = write(tmp_path, "fsdp", tiny_arch, shards, parallel="fsdp", **changes)
    done = train(recipe, processes=2)
    assert done.returncode == 0, done.stderr[-3000:]
    expected = curve(copies)
    assert len(expected) == STEPS
    for ours, theirs in zip(curve(recipe), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=2e-4, abs=2e-5)
    assert scores(recipe)[0] == pytest.approx(scores(copies)[0], abs=0.05)


def test_a_sharded_run_goes_on_sharded_and_as_copies(tmp_path, tiny_arch, shards, copies):
    recipe = write(tmp_path, "first", tiny_arch, shards, parallel="fsdp")
    half = train(recipe, "--samples", "36", "--eval.tasks", "{}", processes=2)
    assert half.returncode == 0, half.stderr[-3000:]
    for parallel in ("fsdp", "ddp"):
        options = ("--parallel", parallel, "--resume", "override")
        done = train(recipe, *options, processes=2)
        assert done.returncode == 0, done.stderr[-3000:]
        # the schedule of the half run was shorter, so only what does not depend on it is equal
        lines = (recipe.parent / "run" / "metrics.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["samples_seen"] == 12 * STEPS


def test_one_process_has_nothing_to_shard_over(tmp_path, tiny_arch, shards):
    recipe = write(tmp_path, "one", tiny_arch, shards, parallel="fsdp")
    done = train(recipe)
    assert done.returncode == 2
    assert "parallel: fsdp shards over ranks, but there is one process" in done.stderr
