"""Small losses in float32: what is left of a logit near 100, against open_clip's own error."""

import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss

from vlp.ops import contrastive_loss, tiles

FLOOR = 1e-5  # the rounding of a logit near 100, which no float32 is spared
NOISES = (1.08, 1.12, 1.16, 1.2, 1.25, 1.3)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(tiles, "CPU_TILE", 100)


def leaves(noise, seed=0):
    """Image, text and a scale of 100, to differentiate by; the noise sets pairs apart."""
    generator = torch.Generator().manual_seed(seed)
    image, other = (F.normalize(torch.randn(256, 64, generator=generator), dim=1) for _ in range(2))
    tensors = image, F.normalize(image + noise * other, dim=1), torch.tensor(100.0)
    return [t.requires_grad_() for t in tensors]


def outcome(loss, tensors):
    """Value, and gradients of image, text and scale."""
    value = loss(*tensors)
    return [value.detach(), *torch.autograd.grad(value, tensors)]


def exact(tensors):
    return outcome(ClipLoss(), [t.detach().double().requires_grad_() for t in tensors])


def errors(found, expected):
    pairs = zip(found, expected, strict=True)
    return [float((one.double() - other).abs().max() / other.abs().max()) for one, other in pairs]


@pytest.mark.parametrize("noise", NOISES)
def test_as_precise_as_open_clip(noise):
    tensors = leaves(noise)
    expected = exact(tensors)
    assert 1e-6 < expected[0] < 2e-2
    own, peer = (
        errors(outcome(loss, tensors), expected) for loss in (contrastive_loss, ClipLoss())
    )
    for one, other in zip(own, peer, strict=True):
        assert one <= 3 * max(other, FLOOR / 3), (own, peer)


def test_the_losses_cover_the_range():
    losses = [float(exact(leaves(noise))[0]) for noise in NOISES]
    assert min(losses) < 2e-5
    assert max(losses) > 5e-3


def test_precise_where_open_clip_gives_nothing():
    """1 + 1e-8 is 1 in float32, and a loss that small is not."""
    tensors = leaves(0.95)
    expected = exact(tensors)
    assert expected[0] < 1e-8
    assert max(errors(outcome(contrastive_loss, tensors), expected)) < 1e-4


@pytest.mark.parametrize("noise", [0.0, 0.3, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_never_below_zero(noise, seed):
    tensors = leaves(noise, seed)
    assert 0 <= contrastive_loss(*tensors) < 1e-5
    whole = [t.detach().bfloat16() for t in tensors[:2]]
    assert contrastive_loss(*whole, tensors[2]) >= 0


def test_one_pair_is_never_wrong():
    image, text, scale = (t.detach() for t in leaves(1.0))
    tensors = [t.requires_grad_() for t in (image[:1], text[:1], scale)]
    assert all(not t.any() for t in outcome(contrastive_loss, tensors))
