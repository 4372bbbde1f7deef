"""The distributed losses over real processes, against the global batch on one, in float64."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.vlp.ops_worker import CASES, ROWS, WIDTH, features, parameters, scale_of

ROOT = Path(__file__).parents[2]
WORLDS = (1, 2, 3)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6}


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ops")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    worker = ["-m", "tests.vlp.ops_worker"]
    started = {
        world: subprocess.Popen(
            [*launcher, f"--nproc-per-node={world}", *worker, str(folder / str(world))],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for world in WORLDS
    }
    for process in started.values():
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said[-3000:]
    return {world: torch.load(folder / str(world), weights_only=True) for world in WORLDS}


def whole_batch(case):
    """Loss and gradients of the global batch, from the formulas."""
    given = parameters()
    image, text = features(given, case)
    logits = scale_of(given, case) * image @ text.T
    if case.startswith("sigmoid"):
        signs = 2 * torch.eye(ROWS, dtype=logits.dtype) - 1
        loss = -F.logsigmoid(signs * (logits + given["bias"])).sum() / ROWS
    else:
        smoothing, targets = 0.1 if case == "smoothed" else 0.0, torch.arange(ROWS)
        loss = 0.5 * sum(
            F.cross_entropy(z, targets, label_smoothing=smoothing) for z in (logits, logits.T)
        )
    (3 * loss).backward()
    found = {name: p.grad for name, p in given.items() if p.grad is not None}
    return {"loss": loss.detach(), **found}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("world", WORLDS)
def test_gradients_are_those_of_the_global_batch(computed, world, case, dtype):
    expected = whole_batch(case)
    found = computed[world]["found"][case, str(dtype)]
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == dtype
        error = (found[name].double() - value).abs().max() / value.abs().max()
        tolerance = TOLERANCE[dtype] * (10 if case == "separated" else 1)  # logits' own rounding
        assert error <= tolerance, (name, float(error))


@pytest.mark.parametrize("world", WORLDS)
def test_two_runs_agree_bit_for_bit(computed, world):
    assert computed[world]["same"]


@pytest.mark.parametrize("world", WORLDS[1:])
def test_unequal_rows_are_refused(computed, world):
    sigmoid, sharded = computed[world]["said"]
    assert "text has 3 rows on rank 0, but from 2 to 3 over the ranks" in sigmoid
    assert f"all_text has {2 * world + 1} rows" in sharded
    assert f"{3 * world}; all ranks must hold equally many rows" in sharded


@pytest.mark.parametrize("world", WORLDS[1:])
def test_the_benchmark_counts_all_that_is_sent(computed, world):
    found, refused = computed[world]["sent"]
    block = 64 * WIDTH * 4  # bytes of a rank's features
    others = world - 1
    expected = {
        "all_gather": others * block,  # texts
        "reduce_scatter": others * block,  # their gradients
        "all_reduce": 3 * 2 * others / world * 64 * world * 4,  # three numbers a column
    }
    assert found["ours"] == pytest.approx(expected)
    # gradients of images and texts go from each rank to each, and gathered are both as well
    assert found["open_clip"] == {"all_gather": 2 * others * block, "scatter": 2 * others * block}
    assert "'reduce_scatter'], but [] were counted" in refused
