"""A run killed at any moment goes on bit for bit."""

import random
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.runs import checkpoints, metrics, results, train, train_until, write_recipe
from vlp.data.index import write_index


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_arch, shards) -> Path:
    """A run that nothing interrupted, once for all tests."""
    recipe = write_recipe(tmp_path_factory.mktemp("whole") / "r.yaml", tiny_arch, shards)
    done = train(recipe)
    assert done.returncode == 0, done.stderr
    return recipe.parent / "run"


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(
        run / "checkpoints" / "step-000000024" / "model" / "open_clip_model.safetensors"
    )


def assert_equal(run: Path, whole: Path) -> None:
    assert metrics(run) == metrics(whole)
    assert results(run) == results(whole)
    ours, theirs = weights(run), weights(whole)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert torch.equal(ours[name], theirs[name]), name


def lines(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_text().count("\n") if path.is_file() else 0


def test_the_run_is_complete(whole):
    assert [m["samples_seen"] for m in metrics(whole)] == list(range(12, 300, 12))
    assert checkpoints(whole) == ["step-000000018", "step-000000021", "step-000000024"]
    assert [seen for seen, _ in results(whole)] == [96, 192, 288]
    assert metrics(whole)[0]["lr"] == pytest.approx(1e-3 * 12 / 48)


@pytest.mark.parametrize("attempt", range(2))
def test_killed_at_a_random_moment(tmp_path, tiny_arch, shards, whole, attempt):
    recipe = write_recipe(tmp_path / "r.yaml", tiny_arch, shards)
    run = tmp_path / "run"
    at = random.Random(attempt).randint(2, 22)
    train_until(recipe, lambda: lines(run) >= at)
    assert lines(run) < 24
    done = train(recipe, "--data.workers", str(attempt * 2))  # another worker count changes nothing
    assert done.returncode == 0, done.stderr
    assert_equal(run, whole)


def test_killed_during_a_save(tmp_path, tiny_arch, shards, whole):
    recipe = write_recipe(tmp_path / "r.yaml", tiny_arch, shards)
    run = tmp_path / "run"
    train_until(recipe, lambda: lines(run) >= 4 and any(run.glob("checkpoints/.step-*.tmp")))
    assert any(run.glob("checkpoints/.step-*.tmp")), "the kill came after the save"
    done = train(recipe)
    assert done.returncode == 0, done.stderr
    assert_equal(run, whole)
    assert not any(run.glob("checkpoints/.*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_saves_and_exits_with_a_status_of_its_own(
    tmp_path, tiny_arch, shards, whole, number
):
    recipe = write_recipe(tmp_path / "r.yaml", tiny_arch, shards)
    run = tmp_path / "run"
    options = ("--data.workers", "1")
    status = train_until(recipe, lambda: lines(run) >= 5, *options, number=number)
    assert status == 75
    stopped_at = metrics(run)[-1]["step"]
    assert checkpoints(run)[-1] == f"step-{stopped_at:09d}"
    done = train(recipe)
    assert done.returncode == 0, done.stderr
    assert_equal(run, whole)


def test_going_on_with_two_processes(tmp_path, tiny_arch, shards, whole):
    recipe = write_recipe(tmp_path / "r.yaml", tiny_arch, shards)
    run = tmp_path / "run"
    train_until(recipe, lambda: lines(run) >= 10)
    done = train(recipe, processes=2)
    assert done.returncode == 0, done.stderr
    for ours, theirs in zip(metrics(run), metrics(whole), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_a_damaged_checkpoint_is_passed_over_by_name(tmp_path, tiny_arch, shards, whole):
    recipe = write_recipe(tmp_path / "r.yaml", tiny_arch, shards)
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    state = run / "checkpoints" / "step-000000024" / "state" / "__0_0.distcp"
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    state.write_bytes(data)
    done = train(recipe)
    assert done.returncode == 0, done.stderr
    assert "step-000000024 is damaged (state/__0_0.distcp is not as it was written)" in done.stderr
    assert "going on from" in done.stderr
    assert "step-000000021" in done.stderr
    assert_equal(run, whole)


def test_a_finished_run_has_nothing_to_do(tmp_path, tiny_arch, shards, whole):
    recipe = write_recipe(tmp_path / "r.yaml", tiny_arch, shards)
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    done = train(recipe)
    assert done.returncode == 0, done.stderr
    assert_equal(run, whole)


def test_changed_data_are_noticed(tmp_path, tiny_arch, shards, whole):
    grown = tmp_path / "grown"
    shutil.copytree(shards, grown)
    recipe = write_recipe(tmp_path / "r.yaml", tiny_arch, grown)
    started = train_until(recipe, lambda: bool(checkpoints(tmp_path / "run")))
    assert started != 0
    shutil.copy(grown / "00002.tar", grown / "00003.tar")
    write_index(grown / "00003.tar")
    done = train(recipe)
    assert done.returncode == 2
    assert "are not those that the run began with" in done.stderr


def test_another_batch_is_refused_even_as_an_override(tmp_path, tiny_arch, shards, whole):
    recipe = write_recipe(tmp_path / "r.yaml", tiny_arch, shards)
    shutil.copytree(whole, tmp_path / "run")
    done = train(recipe, "--batch", "24", "--resume", "override")
    assert done.returncode == 2
    assert "batch: 12 -> 24" in done.stderr


def test_an_override_that_does_not_fit_leaves_the_run_as_it_was(tmp_path, tiny_arch, shards, whole):
    recipe = write_recipe(tmp_path / "r.yaml", tiny_arch, shards)
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    before = (run / "config.yaml").read_bytes()
    done = train(recipe, "--model.context_length", "12", "--resume", "override")
    assert done.returncode == 2
    assert "positional_embedding has shape (16, 16), in this run (12, 16)" in done.stderr
    assert "Traceback" not in done.stderr
    assert (run / "config.yaml").read_bytes() == before


def test_another_configuration_is_refused_with_the_difference(tmp_path, tiny_arch, shards, whole):
    recipe = write_recipe(tmp_path / "r.yaml", tiny_arch, shards)
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    before = metrics(run)
    done = train(recipe, "--optim.lr", "0.5", "--data.augment.flip", "0")
    assert done.returncode == 2
    assert "optim.lr: 0.001 -> 0.5" in done.stderr
    assert "data.augment.flip: 0.5 -> 0.0" in done.stderr
    assert "Traceback" not in done.stderr
    assert metrics(run) == before
    longer = train(recipe, "--samples", "312", "--resume", "override")
    assert longer.returncode == 0, longer.stderr
    assert metrics(run)[:24] == before
    assert metrics(run)[-1]["samples_seen"] == 312
