"""Micro-batches: random layers fall as they did when the features were cached."""

import copy
import json
from contextlib import nullcontext

import pytest
import torch

from tests.conftest import TINY
from training.accumulate import backward_in_passes
from training.step import TrainStep
from vlp.model import ModelConfig, build_model
from vlp.objectives import InfoNCE, Objective
from vlp.signals import as_signals
from vlp.sources import Gather


@pytest.fixture
def step(tmp_path):
    """A step whose tower drops half of its patches at random."""
    config = copy.deepcopy(TINY)
    config["vision_cfg"] |= {"patch_dropout": 0.5, "image_size": 32}
    (tmp_path / "m.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = build_model(ModelConfig(arch=str(tmp_path / "m.json")))
    return TrainStep(model, [Gather()], {"it": InfoNCE()}, nullcontext).train()


def batch(rows=8):
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(1, 400, (rows, 8), generator=generator)
    tokens[:, -1] = 49407
    pixels = torch.randint(0, 256, (rows, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return {"pixels": pixels, "tokens": tokens, "sample_id": torch.arange(rows)}


def test_the_replay_drops_the_patches_that_the_cache_dropped(step):
    signals = batch()
    torch.manual_seed(5)
    backward_in_passes(step, as_signals(signals), 4, lambda loss: loss)
    found = {n: p.grad.clone() for n, p in step.named_parameters() if p.grad is not None}

    step.zero_grad()
    torch.manual_seed(5)
    parts = [{k: v[i : i + 4] for k, v in signals.items()} for i in (0, 4)]
    encoded = [step.encode(part) for part in parts]  # the same draws, all with gradient
    whole = {k: torch.cat([e[k] for e in encoded]) for k in ("image", "text")}
    step.losses({**signals, **whole, "scale": step.model.scale}, ["it"])["total"].backward()
    for name, parameter in step.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(found[name], parameter.grad, rtol=1e-4, atol=1e-7), name


def test_the_random_state_goes_on_as_after_one_pass_over_the_batch(step):
    torch.manual_seed(5)
    backward_in_passes(step, as_signals(batch()), 4, lambda loss: loss)
    after = torch.get_rng_state()
    torch.manual_seed(5)
    with torch.no_grad():
        for i in (0, 4):
            step.encode(as_signals({k: v[i : i + 4] for k, v in batch().items()}))
    assert torch.equal(after, torch.get_rng_state())


def test_needs_that_nothing_provides_are_named_before_the_first_step(step):
    class Lost(Objective):
        @property
        def needs(self):
            return frozenset({"hard_text"})

        def forward(self, signals):
            raise NotImplementedError

    with pytest.raises(ValueError, match=r"objective 'x' needs \['hard_text'\], which nothing"):
        TrainStep(step.model, [Gather()], {"x": Lost()}, nullcontext)


def test_an_objective_of_single_samples_may_not_need_the_whole_batch(step):
    class Confused(InfoNCE):
        scope = "sample"

    with pytest.raises(ValueError, match=r"scope 'sample' but needs \['all_image', 'all_text'"):
        TrainStep(step.model, [Gather()], {"x": Confused()}, nullcontext)
