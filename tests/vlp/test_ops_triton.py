"""The Triton kernels, interpreted on this machine's CPU, and compiled for GPUs."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vlp.ops import contrastive_loss, tiles

ROOT = Path(__file__).parents[2]

if importlib.util.find_spec("triton") is None or not tiles.triton_installed():
    pytest.skip("triton >= 3.3 is not installed", allow_module_level=True)

from tests.vlp import ops_kernels  # noqa: E402 (imports triton)

CASES = [(dtype, case) for dtype in ops_kernels.DTYPES for case in ops_kernels.CASES]


def worker(what, folder, **environment):
    path = folder / "found.pt"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.vlp.ops_kernels", what, str(path)],
        cwd=ROOT,
        env={**os.environ, "TRITON_CACHE_DIR": str(folder), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    return worker("interpreted", tmp_path_factory.mktemp("interpreted"), TRITON_INTERPRET="1")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return worker("compiled", tmp_path_factory.mktemp("compiled"))


def expected_of(dtype, case):
    """The same from plain torch in float64, at the very numbers the kernels got."""
    rows, width, _, smoothing = case
    given = ops_kernels.leaves(rows, width, ops_kernels.DTYPES[dtype])
    tensors = [t.detach().double().requires_grad_() for t in given]
    return ops_kernels.outcome(contrastive_loss(*tensors, label_smoothing=smoothing), tensors)


def assert_same(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        error = (one.double() - other).abs().max() / other.abs().max()
        assert error <= tolerance, float(error)


@pytest.mark.parametrize(("dtype", "case"), CASES)
def test_kernels_agree_with_torch(interpreted, dtype, case):
    found, expected = interpreted[dtype, case], expected_of(dtype, case)
    assert [t.dtype for t in found[1:3]] == [ops_kernels.DTYPES[dtype]] * 2
    assert_same(found[:1], expected[:1], 1e-6)
    assert_same(found[1:], expected[1:], torch.finfo(ops_kernels.DTYPES[dtype]).eps + 5e-6)


def test_two_runs_agree_bit_for_bit(interpreted):
    assert all(map(torch.equal, interpreted["again"], interpreted[CASES[-1]]))


def test_matches_off_the_diagonal(interpreted):
    assert_same(interpreted["rolled"], expected_of("float32", ops_kernels.CASES[-1]), 5e-6)


def test_kernels_compile_for_gpus(compiled):
    """On tensor cores for 16 bits, never as TF32, without atomic sums."""
    assert len(compiled) == 6
    for (architecture, dtype, name), assembly in compiled.items():
        assert ("mma.sync" in assembly) == (dtype == "bf16"), (architecture, dtype, name)
        assert not re.search(r"tf32|\b(atom|red)\.", assembly), (architecture, dtype, name)
