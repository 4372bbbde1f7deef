"""Micro-batches: random layers fall as they did when the features were cached."""

import copy
import json
from contextlib import nullcontext

import pytest
import torch

from tests.conftest import TINY
from training.accumulate import backward_in_passes, split
from training.step import TrainStep
from vlp.model import CaptionerConfig, ModelConfig, build_model
from vlp.objectives import Captioning, InfoNCE, Objective
from vlp.sources import Gather


@pytest.fixture
def step(tmp_path):
    """A step whose tower drops half of its patches at random, with hard captions and a decoder."""
    config = copy.deepcopy(TINY)
    config["vision_cfg"] |= {"patch_dropout": 0.5, "image_size": 32}
    (tmp_path / "m.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    captioner = CaptionerConfig(layers=1, heads=2)
    model = build_model(ModelConfig(arch=str(tmp_path / "m.json"), captioner=captioner))
    objectives = {"it": InfoNCE(hard_captions=True), "captions": Captioning()}
    gather = Gather(objectives["it"].needs)
    return TrainStep(model, [gather], objectives, nullcontext, {"hard_mask"}).train()


def batch(rows=8):
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(1, 400, (rows, 8), generator=generator)
    tokens[:, -1] = 49407
    pixels = torch.randint(0, 256, (rows, 3, 32, 32), generator=generator, dtype=torch.uint8)
    hard = tokens.flip(0)[:, None]
    mask = torch.arange(rows)[:, None] % 3 > 0
    return {"pixels": pixels, "tokens": tokens, "hard_tokens": hard, "hard_mask": mask}


def in_passes(step, signals, size):
    torch.manual_seed(5)
    return backward_in_passes(step, split(signals, size), lambda loss: loss)


def test_the_replay_drops_the_patches_that_the_cache_dropped(step):
    signals = batch()
    in_passes(step, signals, 4)
    found = {n: p.grad.clone() for n, p in step.named_parameters() if p.grad is not None}

    step.zero_grad()
    torch.manual_seed(5)
    wanted = step.needs(step.objectives)
    encoded = [step.encode(part, wanted) for part in split(signals, 4)]  # all with gradient
    features = ("image", "text", "hard_text")
    whole = {k: torch.cat([e[k] for e in encoded]) for k in features}
    whole |= {"hard_mask": signals["hard_mask"], "scale": step.model.scale}
    total = step.losses(whole, ["it"])["total"]
    captions = step.objective("captions")
    counts = [int((e["caption_ids"] != 0).sum()) for e in encoded]
    for part, count in zip(encoded, counts, strict=True):
        total = total + captions.weight * captions(part) * count / sum(counts)
    total.backward()
    for name, parameter in step.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(found[name], parameter.grad, rtol=1e-4, atol=1e-7), name


def test_the_random_state_goes_on_as_after_one_pass_over_the_batch(step):
    in_passes(step, batch(), 4)
    after = torch.get_rng_state()
    torch.manual_seed(5)
    with torch.no_grad():
        for part in split(batch(), 4):
            step.encode(part, frozenset())
    assert torch.equal(after, torch.get_rng_state())


def test_caption_logits_are_made_once_and_never_kept(step, monkeypatch):
    rows = []
    decode = step.model.decode

    def watched(image_tokens, states):
        rows.append((len(states), torch.is_grad_enabled()))
        return decode(image_tokens, states)

    monkeypatch.setattr(step.model, "decode", watched)
    in_passes(step, batch(), 3)
    assert rows == [(3, True), (3, True), (2, True)]


def test_masked_texts_are_not_encoded_and_all_others_in_one_call(step, monkeypatch):
    seen = []
    tower = step.model.text_tower
    monkeypatch.setattr(step.model, "text_tower", lambda t: seen.append(len(t)) or tower(t))
    signals = batch()
    (part,) = split(signals, None)
    step(part)
    assert seen == [8 + int(signals["hard_mask"].sum())]


def test_needs_that_nothing_provides_are_named_before_the_first_step(step):
    class Lost(Objective):
        @property
        def needs(self):
            return frozenset({"hard_text"})

        def forward(self, signals):
            raise NotImplementedError

    with pytest.raises(
        ValueError, match=r"'x' needs \['hard_text'\], which nothing provides.*\[negatives\]"
    ):
        TrainStep(step.model, [Gather()], {"x": Lost()}, nullcontext)


def test_an_objective_of_single_samples_may_not_need_the_whole_batch(step):
    class Confused(InfoNCE):
        scope = "sample"

    with pytest.raises(ValueError, match=r"scope 'sample' but needs \['all_text', 'targets'"):
        TrainStep(step.model, [Gather()], {"x": Confused()}, nullcontext)
