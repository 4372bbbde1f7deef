"""Teachers and the momentum encoder: whose features they give, and how they follow."""

import copy
import json
from contextlib import nullcontext

import pytest
import torch

from tests.conftest import TINY
from vlp.model import ModelConfig, build_model
from vlp.sources import Gather, Momentum, Teacher


def built(tmp_path, name="m", **changes):
    config = json.loads(json.dumps(TINY))
    for part, values in changes.items():
        config[part] |= values
    (tmp_path / f"{name}.json").write_text(json.dumps(config))
    return build_model(ModelConfig(arch=str(tmp_path / f"{name}.json"))).eval()


def signals():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 400, (4, 8), generator=generator)
    tokens[:, 5] = 49407
    tokens[:, 6:] = 0
    pixels = torch.randint(0, 256, (4, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return {"pixels": pixels, "tokens": tokens}


def test_a_teacher_gives_its_own_features_and_is_no_part_of_the_step(tmp_path):
    model = built(tmp_path)
    teacher = Teacher("big", model, context_length=16, pad_id=0, autocast=nullcontext)
    found = teacher(signals())
    image = model.encode_image(signals()["pixels"])
    assert torch.allclose(found["big_image"], image, atol=1e-6)
    assert torch.allclose(found["big_text"], model.encode_text(signals()["tokens"]), atol=1e-6)
    assert not found["big_image"].requires_grad
    assert list(teacher.parameters()) == []
    assert teacher.state_dict() == {}


def test_a_teacher_of_another_picture_size_sees_the_whole_picture(tmp_path):
    model = built(tmp_path, vision_cfg={"image_size": 32})
    teacher = Teacher("big", model, context_length=16, pad_id=0, autocast=nullcontext)
    flat = torch.full((2, 3, 16, 16), 77, dtype=torch.uint8)
    found = teacher({**signals(), "pixels": flat, "tokens": signals()["tokens"][:2]})
    own = model.encode_image(torch.full((2, 3, 32, 32), 77, dtype=torch.uint8))
    assert torch.allclose(found["big_image"], own, atol=1e-6)


def test_a_teacher_that_cannot_read_cut_texts_gets_them_whole(tmp_path):
    model = built(tmp_path, text_cfg={"no_causal_mask": True})
    assert model.trimmer is None
    teacher = Teacher("big", model, context_length=16, pad_id=0, autocast=nullcontext)
    whole = torch.nn.functional.pad(signals()["tokens"], (0, 8))
    found = teacher(signals())
    assert torch.allclose(found["big_text"], model.encode_text(whole), atol=1e-6)


def test_the_momentum_encoder_follows_by_its_decay(tmp_path):
    model = built(tmp_path)
    momentum = Momentum("slow", model.train(), decay=0.75, autocast=nullcontext)
    assert not momentum.model.training
    momentum.train()
    before = copy.deepcopy(dict(momentum.model.named_parameters()))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    momentum.after_step(model)
    for name, parameter in momentum.model.named_parameters():
        assert torch.allclose(parameter, before[name] + 0.25, atol=1e-6), name
        assert not parameter.requires_grad
    assert not momentum.model.training
    own = momentum.model.encode_image(signals()["pixels"])
    assert torch.allclose(momentum(signals())["slow_image"], own, atol=1e-6)


def test_gather_provides_what_it_was_asked_for():
    gather = Gather({"all_image", "all_hard_mask", "text"})
    assert gather.needs == {"image", "hard_mask"}
    assert gather.provides == {"targets", "all_image", "all_hard_mask"}
    mask = torch.tensor([[True], [False]])
    found = gather({"image": torch.ones(2, 3), "hard_mask": mask})
    assert torch.equal(found["all_hard_mask"], mask)
    assert found["targets"].tolist() == [0, 1]


@pytest.mark.parametrize("tower", ["image", "text"])
def test_a_locked_tower_has_no_gradient_and_stays_in_evaluation(tmp_path, tiny_arch, tower):
    model = build_model(ModelConfig(arch=tiny_arch, lock=[tower])).train()
    found = model({**signals(), "tokens": signals()["tokens"]})
    assert found["image"].requires_grad == (tower != "image")
    assert found["text"].requires_grad == (tower != "text")
    assert model.clip.visual.training == (tower != "image")
    assert model.clip.logit_scale.requires_grad
