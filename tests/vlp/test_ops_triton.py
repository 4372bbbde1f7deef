"""The Triton kernels, interpreted on this machine's CPU, and compiled for GPUs."""

import importlib.util
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from vlp.ops import contrastive_loss, tiles

ROOT = Path(__file__).parents[2]

if importlib.util.find_spec("triton") is None or not tiles.triton_installed():
    pytest.skip("triton >= 3.3 is not installed", allow_module_level=True)

from tests.vlp import ops_kernels  # noqa: E402 (imports triton)
from vlp.ops import triton_kernels  # noqa: E402 (imports triton)

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


def test_small_losses_of_well_separated_pairs(interpreted):
    """Float32 as such and as three products of TF32 agree with float64; one product would not."""
    tensors = [t.detach().double().requires_grad_() for t in ops_kernels.separated()]
    expected = ops_kernels.outcome(contrastive_loss(*tensors), tensors)
    assert expected[0] < 1e-2
    for kind in ("ieee", "tf32x3"):
        assert_same(interpreted["separated", kind], expected, 5e-6)
    with pytest.raises(AssertionError):
        assert_same(interpreted["separated", "tf32"], expected, 1e-4)


def test_kernels_compile_for_gpus(compiled):
    """On tensor cores for 16 bits and for three products of TF32, without atomic sums."""
    assert len(compiled) == 12
    for (architecture, dtype, kind, name), assembly in compiled.items():
        case = architecture, dtype, kind, name
        products = re.findall(r"\bw?g?mma\.\S*", assembly)
        assert bool(products) == (dtype == "bf16" or kind == "tf32x3"), case
        assert ("tf32" in assembly) == (kind == "tf32x3"), case
        assert not re.search(r"\b(atom|red)\.", assembly), case


@pytest.mark.parametrize(
    ("dtype", "capability", "expected"),
    [
        (torch.float32, (8, 0), "tf32x3"),
        (torch.float32, (9, 0), "tf32x3"),
        (torch.float32, (8, 6), "ieee"),
        (torch.float32, (7, 5), "ieee"),
        (torch.bfloat16, (9, 0), "ieee"),
    ],
)
def test_where_tensor_cores_multiply_float32(monkeypatch, dtype, capability, expected):
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: capability)
    with FakeTensorMode():
        assert triton_kernels.precision(torch.empty(2, 16, dtype=dtype, device="cuda")) == expected
    assert triton_kernels.precision(torch.empty(2, 16, dtype=dtype)) == "ieee"


def test_kernels_launch_on_the_device_of_the_features(monkeypatch):
    """And what they fill is there too, wherever the scale is."""
    launched, current = [], [0]

    @contextmanager
    def device_of(tensor):
        before, current[0] = current[0], tensor.device.index
        yield
        current[0] = before

    class Kernel:
        def __getitem__(self, grid):
            return lambda *given, **_: launched.append((current[0], devices(given)))

    def devices(given):
        if isinstance(given, tuple):
            return set().union(*map(devices, given))
        return {given.device.index} if isinstance(given, torch.Tensor) else set()

    monkeypatch.setattr("torch.cuda.device_of", device_of)
    monkeypatch.setattr(triton_kernels, "precision", lambda _: "ieee")
    for name in ("_sums", "_weights", "_add_product"):
        monkeypatch.setattr(triton_kernels, name, Kernel())
    with FakeTensorMode():
        image, text, scale = (
            torch.empty(shape, device="cuda:1") for shape in ((8, 16), (8, 16), ())
        )
        kernels, pairs = triton_kernels.TritonTiles(), tiles.Pairs(image, text, scale)
        rows = torch.empty(8, device="cuda:1")
        normalisers = tiles.Normalisers(rows, rows, rows, rows, rows.long(), rows)
        kernels.sums(pairs, rows.long())
        kernels.add_product(image, kernels.weights(pairs, normalisers), text)
    assert launched == [(1, {1})] * 3
    assert current == [0]
