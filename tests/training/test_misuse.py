"""A user's mistakes: one line that names the file, field or key, never a traceback or a hang."""

import json
import resource
import shutil
import subprocess

import pytest

from tests.conftest import make_shards
from tests.training.runs import (
    ROOT,
    checkpoints,
    command,
    environment,
    metrics,
    train,
    write_recipe,
)
from vlp.data.index import write_index
from vlp.data.tar import write_tar


def test_no_shards(trained):
    status, said = trained("--data.sources.tiny.shards", "nothing-{0..3}.tar")
    assert status == 2
    assert "data.sources.tiny.shards: 4 of 4 shards are missing" in said.err


def test_a_batch_that_ranks_cannot_share(tmp_path, tiny_arch, shards):
    recipe = write_recipe(tmp_path / "r.yaml", tiny_arch, shards, batch=13)
    done = train(recipe, processes=2)
    assert done.returncode != 0
    assert "batch 13 is not divisible by the 2 ranks" in done.stderr
    assert not (tmp_path / "run").exists()


def test_fewer_processes_than_the_launcher_was_told(tmp_path, tiny_arch, shards):
    import sys

    recipe = write_recipe(tmp_path / "r.yaml", tiny_arch, shards)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    done = subprocess.run(
        [*launch, *command(recipe)[1:]], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "started one" in done.stderr
    assert "--multi_gpu" in done.stderr


def test_an_evaluation_that_cannot_run_stops_before_the_first_step(trained, tmp_path):
    tasks = {"x": {"task": "zeroshot", "data": str(tmp_path)}}
    status, said = trained(eval={"tasks": tasks})
    assert status == 2
    assert "retrieval" in said.err
    assert "zeroshot_classification" in said.err
    tasks = {"x": {"task": "retrieval", "data": str(tmp_path / "none")}}
    status, said = trained(eval={"tasks": tasks})
    assert status == 2
    assert str(tmp_path / "none") in said.err


def test_unusable_samples_are_replaced_counted_and_listed(trained, tmp_path, shards):
    damaged = tmp_path / "damaged"
    shutil.copytree(shards, damaged)
    path = damaged / "00002.tar"
    write_tar(
        path,
        [
            ("good", {"jpg": first_picture(shards), "txt": b"a fine caption"}),
            ("bad", {"jpg": b"not a picture", "txt": b"a caption"}),
        ],
    )
    write_index(path)
    status, said = trained("--samples", "144", source=damaged)
    assert status == 0, said.err
    listed = [json.loads(x) for x in (tmp_path / "run" / "problems.jsonl").read_text().splitlines()]
    assert {p["key"] for p in listed} == {"bad"}
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["substituted"] == len(listed) >= 2
    assert "replaced bad of" in said.err


def first_picture(shards):
    from vlp.data.source import Source, SourceConfig

    return Source("x", SourceConfig(shards=str(shards))).read(0, 0).image


def test_a_shard_that_was_cut_is_named_before_the_first_step(trained, tmp_path, shards):
    cut = tmp_path / "cut"
    shutil.copytree(shards, cut)
    path = cut / "00001.tar"
    path.write_bytes(path.read_bytes()[:5000])
    status, said = trained(source=cut)
    assert status == 2
    assert "00001.tar has 5000 bytes but was indexed with" in said.err
    assert "Traceback" not in said.err


def test_too_many_unusable_samples_stop_the_run_with_the_list(trained, tmp_path):
    make_shards(tmp_path / "s", [6])
    from vlp.data.source import Source, SourceConfig

    source = Source("x", SourceConfig(shards=str(tmp_path / "s")))
    samples = [(f"k{i}", dict(source.read(0, i).members)) for i in range(6)]
    samples += [(f"bad{i}", {"jpg": b"no", "txt": b"a caption"}) for i in range(6)]
    write_tar(tmp_path / "s" / "00000.tar", samples)
    write_index(tmp_path / "s" / "00000.tar")
    status, said = trained(source=tmp_path / "s")
    assert status == 1
    assert "samples were unusable, more than data.max_unreadable = 1.00%" in said.err
    assert "problems.jsonl" in said.err
    assert "Traceback" not in said.err


def test_gradients_that_are_not_finite_stop_before_a_checkpoint_is_overwritten(trained, tmp_path):
    status, said = trained("--optim.lr", "1e30", "--max_nonfinite", "3", ema=None)
    assert status == 1
    assert "were not finite" in said.err
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["grad_norm"] is None or last["nonfinite"] < 3
    for step in checkpoints(tmp_path / "run"):
        state = json.loads(
            (tmp_path / "run/checkpoints" / step / "state/progress.json").read_text()
        )
        assert state["nonfinite"] < 3


@pytest.mark.parametrize("processes", [1, 2])
def test_a_disk_that_is_full_while_saving(tmp_path, tiny_arch, shards, processes):
    recipe = write_recipe(tmp_path / "r.yaml", tiny_arch, shards)
    run = tmp_path / "run"
    good = train(recipe, "--samples", "36", "--schedule.warmup", "24")
    assert good.returncode == 0, good.stderr
    limit = 1 << 20  # bytes a file may have: the process is told so as by a full disk
    done = subprocess.run(
        command(recipe, "--resume", "override", processes=processes),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1
    assert "error: checkpoint" in done.stderr
    assert "was not saved" in done.stderr
    if processes == 2:
        assert "error: another rank failed, see there" in done.stderr
    else:
        assert "Traceback" not in done.stderr  # the launcher of several prints one of its own
    assert checkpoints(run) == ["step-000000003"]
    assert not any(run.glob("checkpoints/.*"))
    healed = train(recipe)
    assert healed.returncode == 0, healed.stderr
    assert len(metrics(run)) == 24


def test_a_defect_shows_its_place_and_ends_the_process(tmp_path, tiny_arch, shards):
    (tmp_path / "mine.py").write_text(
        "from vlp.objectives import InfoNCE\n\n\nclass Broken(InfoNCE):\n"
        "    def forward(self, signals):\n        raise ValueError('a defect')\n"
    )
    objectives = {"contrastive": {"class_path": "mine.Broken"}}
    recipe = write_recipe(tmp_path / "r.yaml", tiny_arch, shards, objectives=objectives)
    done = subprocess.run(
        command(recipe, "--data.workers", "1"),
        cwd=ROOT,
        env={**environment(), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "mine.py" in done.stderr
    assert "a defect" in done.stderr


def test_a_dry_run_prints_costs_and_leaves_nothing_behind(trained, tmp_path):
    status, said = trained("--dry-run")
    assert status == 0
    for expected in ("parameters", "FLOPs per pair", "memory", "64 samples in 3 shards", "pairs/s"):
        assert expected in said.out
    assert not (tmp_path / "run").exists()


def test_help_and_print_config(recipe_command):
    shown = subprocess.run(
        [*recipe_command, "--print_config"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert shown.returncode == 0
    assert "label_smoothing: 0.0" in shown.stdout
    helped = subprocess.run(
        [*recipe_command[:3], "--help"], cwd=ROOT, capture_output=True, text=True, env=environment()
    )
    assert helped.returncode == 0
    assert "--dry-run" in helped.stdout
    assert "--optim.lr" in helped.stdout


@pytest.fixture
def recipe_command(tmp_path, tiny_arch, shards):
    return command(write_recipe(tmp_path / "r.yaml", tiny_arch, shards))
