"""Who computes on which device, without one: GPUs are played by tensors without numbers."""

import logging
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from vlp.ops import contrastive_loss, sharded_contrastive_loss, sigmoid_loss, tiles


@pytest.fixture
def on_gpu(monkeypatch):
    """Image, text, scale and bias on a GPU that is none; asking for a number there fails."""
    monkeypatch.setenv("VLP_TRITON", "0")
    with FakeTensorMode(allow_non_fake_inputs=True):
        features = [torch.empty(8, 16, device="cuda") for _ in range(2)]
        yield [*features, *(torch.empty((), device="cuda") for _ in range(2))]


class Copies(TorchDispatchMode):
    """Counts tensors made on the CPU: of each a GPU gets a copy, which the CPU waits for."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        self.number += isinstance(found, torch.Tensor) and found.device.type == "cpu"
        return found


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_cpu_never_waits_for_the_gpu(monkeypatch, on_gpu, ranks):
    image, text, scale, bias = on_gpu
    monkeypatch.setattr("torch.distributed.all_reduce", lambda *_: None)
    monkeypatch.setattr("torch.distributed.batch_isend_irecv", lambda _: [])
    monkeypatch.setattr("torch.distributed.P2POp", lambda *_, **__: None)
    for name in ("contrastive", "sigmoid"):
        module = sys.modules[f"vlp.ops.{name}"]
        monkeypatch.setattr(module, "world_size", lambda: ranks)
        monkeypatch.setattr(module, "active", lambda: ranks > 1)
    targets = torch.arange(8, device="cuda")
    with Copies() as copies:
        sharded_contrastive_loss(
            image, torch.cat([text] * ranks), scale, targets, label_smoothing=0.1
        )
        sigmoid_loss(image, text, scale, bias)
    assert copies.number == 0
    with Copies() as copies:  # the measure sees one where it is
        torch.tensor([1, 2], device="cuda")
    assert copies.number > 0
    with pytest.raises(DataDependentOutputException):
        bool(scale > 0)


def test_a_gpu_says_which_rank_has_other_rows(monkeypatch, on_gpu):
    said = []
    monkeypatch.setattr("torch.distributed.all_reduce", lambda *_: None)
    monkeypatch.setattr("torch._assert_async", lambda _, message: said.append(message))
    sys.modules["vlp.ops.sigmoid"]._check_rows(on_gpu[1])
    (message,) = said
    assert message.startswith("text has 8 rows on rank 0, but not on every rank")


@pytest.mark.parametrize("name", ["scale", "bias", "targets"])
def test_another_device_is_named(name):
    given = {
        "image": torch.ones(4, 3),
        "text": torch.ones(4, 3),
        "scale": torch.tensor(1.0),
        "bias": torch.tensor(0.0),
        "targets": torch.arange(4),
    }
    given[name] = given[name].to("meta")
    image, text, scale, bias, targets = given.values()
    calls = {
        "bias": lambda: sigmoid_loss(image, text, scale, bias),
        "scale": lambda: contrastive_loss(image, text, scale),
        "targets": lambda: sharded_contrastive_loss(image, text, scale, targets),
    }
    with pytest.raises(ValueError, match=f"{name} is on meta but image is on cpu"):
        calls[name]()


FLOAT32 = {torch.float32}


@pytest.mark.parametrize(
    ("dtypes", "width", "reason"),
    [
        ({torch.bfloat16}, 512, None),
        (FLOAT32, 16, None),
        ({torch.float16}, 2048, None),
        ({torch.float64}, 512, "not torch.float64"),
        (FLOAT32 | {torch.bfloat16}, 512, "differ in dtype: torch.bfloat16 and torch.float32"),
        (FLOAT32, 40, "a width of 40"),
        (FLOAT32, 4096, "a width of 4096"),
    ],
)
def test_what_the_kernels_take(monkeypatch, dtypes, width, reason):
    monkeypatch.setattr(tiles, "triton_installed", lambda: True)
    found = tiles.why_not_triton(dtypes, width)
    assert found is None if reason is None else reason in found
    monkeypatch.setattr(tiles, "triton_installed", lambda: False)
    assert "not installed" in tiles.why_not_triton(dtypes, width)


@pytest.fixture
def warned(caplog):
    """Reasons for plain torch that were given, of none given before."""
    tiles._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, "vlp.ops"):
        yield lambda: [record.getMessage() for record in caplog.records]
    tiles._warn_once.cache_clear()


def test_plain_torch_on_a_gpu_is_warned_of_once(monkeypatch, on_gpu, warned):
    monkeypatch.delenv("VLP_TRITON")
    monkeypatch.setattr(tiles, "triton_installed", lambda: False)
    image, text, scale, _ = on_gpu
    for _ in range(2):
        contrastive_loss(image, text, scale)
    (message,) = warned()
    assert message.endswith("Triton 3.3 or newer is not installed")


def test_plain_torch_that_was_asked_for(on_gpu, warned):
    assert isinstance(tiles.choose_tiles(*on_gpu[:2]), tiles.TorchTiles)
    assert warned() == []


def test_plain_torch_on_the_cpu(monkeypatch, warned):
    monkeypatch.delenv("VLP_TRITON", raising=False)
    chosen = tiles.choose_tiles(*torch.ones(2, 4, 16).double())
    assert (type(chosen), chosen.dtype) == (tiles.TorchTiles, torch.float64)
    assert warned() == []
