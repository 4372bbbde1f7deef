"""Tiled losses on one process, against the formulas, open_clip's losses and finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.loss import ClipLoss, SigLipLoss
from torch.utils._python_dispatch import TorchDispatchMode

from vlp.ops import contrastive_loss, sharded_contrastive_loss, sigmoid_loss, tiles

TILE = 5


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    set_tile(monkeypatch, TILE)


def set_tile(monkeypatch, size):
    monkeypatch.setattr(tiles, "CPU_TILE", size)
    monkeypatch.setattr("vlp.ops.sigmoid.CPU_TILE", size)


def leaves(rows, width=6, *, scale=9.0, dtype=torch.float64, seed=0):
    """Image, text, scale and bias, to differentiate by."""
    generator = torch.Generator().manual_seed(seed)
    features = [
        F.normalize(torch.randn(rows, width, generator=generator, dtype=torch.float64), dim=1)
        for _ in range(2)
    ]
    scalars = [torch.tensor(value, dtype=torch.float64) for value in (scale, -3.0)]
    return [tensor.to(dtype).requires_grad_() for tensor in (*features, *scalars)]


def gradients(loss, tensors):
    return torch.autograd.grad(loss, tensors)


def by_formula(image, text, scale, smoothing):
    """½ [CE over rows + CE over columns], each target mixed with the uniform distribution."""
    rows = len(image)
    total = torch.zeros((), dtype=image.dtype)
    for queries, candidates in ((image, text), (text, image)):
        for i in range(rows):
            logits = [scale * (queries[i] * candidates[j]).sum() for j in range(rows)]
            log_norm = torch.log(sum(torch.exp(logit) for logit in logits))
            for j in range(rows):
                target = (1 - smoothing) * (i == j) + smoothing / rows
                total = total - target * (logits[j] - log_norm) / (2 * rows)
    return total


def sigmoid_by_formula(image, text, scale, bias):
    total = torch.zeros((), dtype=image.dtype)
    for i in range(len(image)):
        for j in range(len(text)):
            sign = 1 if i == j else -1
            logit = scale * (image[i] * text[j]).sum() + bias
            total = total + torch.log1p(torch.exp(-sign * logit)) / len(image)
    return total


def assert_same(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        error = (one.double() - other.double()).abs().max() / other.double().abs().max()
        assert error <= tolerance, float(error)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_contrastive_is_the_formula(smoothing):
    tensors = leaves(8)[:3]
    found = contrastive_loss(*tensors, label_smoothing=smoothing)
    expected = by_formula(*tensors, smoothing)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
    assert_same(gradients(found, tensors), gradients(expected, tensors), 1e-12)


def test_sigmoid_is_the_formula():
    tensors = leaves(8)
    found, expected = sigmoid_loss(*tensors), sigmoid_by_formula(*tensors)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
    assert_same(gradients(found, tensors), gradients(expected, tensors), 1e-12)


def dense(image, text, scale, smoothing):
    logits, targets = scale * image @ text.T, torch.arange(len(image))
    return 0.5 * sum(
        F.cross_entropy(z, targets, label_smoothing=smoothing) for z in (logits, logits.T)
    )


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 23),
    width=st.integers(1, 9),
    size=st.integers(1, 25),
    smoothing=st.sampled_from([0.0, 0.1]),
    scale=st.sampled_from([-2.0, 0.0, 1.0, 100.0]),
)
def test_any_sizes_and_tiles(rows, width, size, smoothing, scale):
    with pytest.MonkeyPatch.context() as patch:
        set_tile(patch, size)
        tensors = leaves(rows, width, scale=scale)
        image, text, factor, bias = tensors
        pairs = [
            (contrastive_loss(*tensors[:3], label_smoothing=smoothing),
             dense(*tensors[:3], smoothing)),
            (sigmoid_loss(*tensors), SigLipLoss()(image, text, factor, bias)),
        ]  # fmt: skip
        for (found, expected), wanted in zip(pairs, (tensors[:3], tensors), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
            for one, other in zip(
                gradients(found, wanted), gradients(expected, wanted), strict=True
            ):
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_gradcheck(smoothing):
    tensors = leaves(7, 4)
    assert torch.autograd.gradcheck(
        lambda *given: contrastive_loss(*given, label_smoothing=smoothing), tensors[:3]
    )
    assert torch.autograd.gradcheck(sigmoid_loss, tensors)


def test_as_open_clip_in_float32():
    tensors = leaves(64, 16, scale=100.0, dtype=torch.float32)
    exact = [t.detach().double().requires_grad_() for t in tensors]
    found = contrastive_loss(*tensors[:3])
    torch.testing.assert_close(found, ClipLoss()(*tensors[:3]), rtol=1e-6, atol=0)
    assert_same(gradients(found, tensors[:3]), gradients(ClipLoss()(*exact[:3]), exact[:3]), 5e-6)
    found = sigmoid_loss(*tensors)
    torch.testing.assert_close(found, SigLipLoss()(*tensors), rtol=1e-6, atol=0)
    assert_same(gradients(found, tensors), gradients(SigLipLoss()(*exact), exact), 5e-6)


def test_one_process_shards_to_the_whole():
    """And the matches may come in any order, as long as each text has one image."""
    image, text, scale, _ = leaves(12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    found = sharded_contrastive_loss(image[order], text, scale, order, label_smoothing=0.1)
    expected = contrastive_loss(image, text, scale, label_smoothing=0.1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    assert_same(
        gradients(found, (image, text, scale)), gradients(expected, (image, text, scale)), 1e-12
    )


LOSSES = {
    "contrastive": lambda image, text, scale, bias: contrastive_loss(image, text, scale),
    "smoothed": lambda image, text, scale, bias: contrastive_loss(
        image, text, scale, label_smoothing=0.1
    ),
    "sigmoid": sigmoid_loss,
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_has_float32_statistics(name, dtype):
    tensors = leaves(40, 8, scale=30.0)
    halves = [t.detach().to(dtype).requires_grad_() for t in tensors[:2]]
    scalars = [t.detach().float().requires_grad_() for t in tensors[2:]]
    exact = [t.detach().double().requires_grad_() for t in (*halves, *scalars)]
    found, expected = LOSSES[name](*halves, *scalars), LOSSES[name](*exact)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
    used = 4 if name == "sigmoid" else 3
    got = gradients(found, [*halves, *scalars][:used])
    assert [g.dtype for g in got] == [dtype] * 2 + [torch.float32] * (used - 2)
    assert_same(got[:2], gradients(expected, exact[:used])[:2], 2 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_changes_nothing(name):
    tensors = leaves(20, dtype=torch.float32)
    used = tensors[: 4 if name == "sigmoid" else 3]
    expected = LOSSES[name](*tensors)
    with torch.autocast("cpu", torch.bfloat16):
        found = LOSSES[name](*tensors)
        got = gradients(found, used)
    assert torch.equal(found, expected)
    assert all(map(torch.equal, got, gradients(expected, used)))


@pytest.mark.parametrize("name", LOSSES)
def test_two_runs_agree_bit_for_bit(name):
    runs = []
    for _ in range(2):
        tensors = leaves(37, dtype=torch.float32)
        loss = LOSSES[name](*tensors)
        used = tensors[: 4 if name == "sigmoid" else 3]
        runs.append([loss, *gradients(loss, used)])
    assert all(map(torch.equal, *runs))


class Largest(TorchDispatchMode):
    """Numbers of the largest tensor that any operation gives."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else (found,):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.untyped_storage().nbytes() // 4)
        return found


@pytest.mark.parametrize("name", LOSSES)
def test_no_matrix_of_all_logits(monkeypatch, name):
    rows, width = 256, 8
    set_tile(monkeypatch, 32)
    tensors = leaves(rows, width, dtype=torch.float32)
    with Largest() as largest:
        LOSSES[name](*tensors).backward()
    assert largest.numbers == rows * width
    with Largest() as largest:  # the measure sees one where it is
        dense(*tensors[:3], 0.0).backward()
    assert largest.numbers == rows * rows


@pytest.mark.parametrize("name", LOSSES)
def test_without_gradients(name):
    tensors = leaves(12)
    with torch.no_grad():
        found = LOSSES[name](*tensors)
    assert not found.requires_grad
    assert torch.equal(found, LOSSES[name](*tensors).detach())


@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1)])
@pytest.mark.parametrize("name", LOSSES)
def test_a_locked_tower_or_scale(name, frozen):
    tensors = leaves(12)
    used = tensors[: 4 if name == "sigmoid" else 3]
    everything = gradients(LOSSES[name](*tensors), used)
    held = [t.detach() if i in frozen else t for i, t in enumerate(tensors)]
    left = [i for i in range(len(used)) if i not in frozen]
    found = gradients(LOSSES[name](*held), [held[i] for i in left])
    assert_same(found, [everything[i] for i in left], 1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_backward_twice(name):
    image, *rest = leaves(12)
    loss = LOSSES[name](image, *rest)
    (first,) = torch.autograd.grad(loss, image, retain_graph=True)
    (second,) = torch.autograd.grad(loss, image)
    assert torch.equal(first, second)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # of the compiler itself
@pytest.mark.parametrize("name", LOSSES)
def test_inside_of_a_compiled_function(name):
    tensors = leaves(12)
    compiled = torch.compile(lambda *given: 2 * LOSSES[name](*given), backend="eager")
    torch.testing.assert_close(compiled(*tensors), 2 * LOSSES[name](*tensors), rtol=0, atol=0)


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_not_finite_shows(name):
    image, *rest = leaves(12)
    with torch.no_grad():
        image[3, 1] = math.nan
    loss = LOSSES[name](image, *rest)
    assert loss.isnan()
    assert torch.autograd.grad(loss, image)[0].isnan().any()


@pytest.mark.parametrize("sign", [1, -1])
def test_logits_far_apart(sign):
    """Rows and columns whose exponentials no float32 holds."""
    image, text, _, bias = leaves(12, dtype=torch.float32)
    scale = torch.tensor(sign * 2000.0, requires_grad=True)
    used = (image, text, scale)
    exact = [t.detach().double().requires_grad_() for t in used]
    found, expected = contrastive_loss(*used), dense(*exact, 0.0)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    assert_same(gradients(found, used), gradients(expected, exact), 1e-3)
    assert sigmoid_loss(image, text, scale, bias).isfinite()


GOOD = {
    "image": torch.ones(4, 3),
    "text": torch.ones(4, 3),
    "scale": torch.tensor(1.0),
    "bias": torch.tensor(0.0),
}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"image": torch.ones(3)}, r"image must be a matrix .* got \[3\]"),
        ({"text": torch.ones(0, 3)}, r"text must be a matrix .* got \[0, 3\]"),
        ({"text": torch.ones(4, 3).long()}, "text must be a matrix of floats .* torch.int64"),
        ({"text": torch.ones(4, 2)}, r"image is \[4, 3\] .* text is \[4, 2\]"),
        ({"text": torch.ones(5, 3)}, r"image is \[4, 3\] but text is \[5, 3\]"),
        ({"scale": torch.ones(1)}, r"scale must have no dimensions, got \[1\]"),
    ],
)
def test_wrong_shapes_are_named(changed, named):
    given = GOOD | changed
    with pytest.raises(ValueError, match=named):
        sigmoid_loss(**given)
    del given["bias"]
    with pytest.raises(ValueError, match=named):
        contrastive_loss(**given)


def test_wrong_shards_are_named():
    image, text, scale, targets = GOOD["image"], GOOD["text"], GOOD["scale"], torch.arange(4)
    with pytest.raises(ValueError, match="6 rows, but 4 rows of image on each of 1 ranks make 4"):
        sharded_contrastive_loss(image, torch.ones(6, 3), scale, targets)
    with pytest.raises(ValueError, match=r"targets must be 4 numbers of int64.*\[3\]"):
        sharded_contrastive_loss(image, text, scale, targets[:3])
    for dtype in (torch.float32, torch.bool, torch.uint8, torch.int16):
        with pytest.raises(ValueError, match=f"targets must be .* got .* of {dtype}"):
            sharded_contrastive_loss(image, text, scale, targets.to(dtype))
    for smoothing in (-0.1, 1.0):
        with pytest.raises(ValueError, match=f"label_smoothing .* got {smoothing}"):
            contrastive_loss(image, text, scale, label_smoothing=smoothing)
    with pytest.raises(ValueError, match=r"bias must have no dimensions, got \[2\]"):
        sigmoid_loss(image, text, scale, torch.ones(2))


def test_targets_of_32_bits():
    image, text, scale, _ = leaves(12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    losses = [sharded_contrastive_loss(image, text, scale, o) for o in (order, order.int())]
    assert torch.equal(*losses)


def test_the_scale_may_be_a_number():
    image, text = torch.eye(3, 4), torch.eye(3, 4)
    expected = contrastive_loss(image, text, torch.tensor(7.5))
    assert torch.equal(contrastive_loss(image, text, 7.5), expected)
