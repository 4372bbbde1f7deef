"""Objectives against loops written from their formulas, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp.objectives import InfoNCE


def features(rows, width, seed):
    generator = torch.Generator().manual_seed(seed)
    image, text = torch.randn(2, rows, width, generator=generator, dtype=torch.float64)
    return F.normalize(image, dim=-1), F.normalize(text, dim=-1)


def signals(image, text, scale):
    return {
        "image": image,
        "text": text,
        "all_image": image,
        "all_text": text,
        "targets": torch.arange(len(image)),
        "scale": torch.tensor(scale, dtype=torch.float64),
    }


def infonce(image, text, scale, smoothing):
    """Mean over rows of -sum_j q_j log p_j in both directions, q the smoothed one-hot target."""
    rows, total = len(image), 0.0
    for queries, keys in ((image, text), (text, image)):
        for i in range(rows):
            logits = [scale * float(queries[i] @ keys[j]) for j in range(rows)]
            norm = math.log(sum(math.exp(v) for v in logits))
            for j in range(rows):
                target = smoothing / rows + (1 - smoothing) * (i == j)
                total -= target * (logits[j] - norm)
    return total / (2 * rows)


@given(
    rows=st.integers(1, 6),
    scale=st.floats(0.5, 20),
    smoothing=st.floats(0, 0.9),
    seed=st.integers(0, 100),
)
@settings(max_examples=40, deadline=None)
def test_infonce_is_its_formula(rows, scale, smoothing, seed):
    image, text = features(rows, 5, seed)
    found = InfoNCE(label_smoothing=smoothing)(signals(image, text, scale))
    assert float(found) == pytest.approx(infonce(image, text, scale, smoothing), rel=1e-9, abs=1e-9)


def test_infonce_equals_open_clips_loss():
    from open_clip.loss import ClipLoss

    image, text = features(7, 5, 3)
    theirs = ClipLoss()(image, text, torch.tensor(12.5, dtype=torch.float64))
    assert torch.allclose(InfoNCE()(signals(image, text, 12.5)), theirs, atol=1e-12)


def test_infonce_of_a_constant_model_is_chance():
    same = F.normalize(torch.ones(8, 4, dtype=torch.float64), dim=-1)
    assert float(InfoNCE()(signals(same, same, 10.0))) == pytest.approx(math.log(8))


def test_infonce_gradients():
    image, text = features(3, 4, 0)
    inputs = [image.requires_grad_(), text.requires_grad_()]
    loss = InfoNCE(label_smoothing=0.1)
    assert torch.autograd.gradcheck(lambda i, t: loss(signals(i, t, 3.0)), inputs)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_smoothing_out_of_range_is_refused(smoothing):
    with pytest.raises(ValueError, match="label_smoothing must be in"):
        InfoNCE(label_smoothing=smoothing)


def test_weight_must_be_finite():
    with pytest.raises(ValueError, match="weight must be a finite number"):
        InfoNCE(weight=math.nan)
