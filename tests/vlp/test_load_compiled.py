"""`compile=True`: towers are compiled, and give what they give without."""

from functools import partialmethod

import pytest
import torch

import vlp
from tests.vlp.huggingface_folders import build_folder
from vlp.checkpoint import publish
from vlp.model import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer

TEXTS = ["a", "two dogs", "a photo of the red circle on the left"]


@pytest.fixture
def ours(tmp_path, tiny_arch):
    folder = tmp_path / "model"
    folder.mkdir()
    torch.manual_seed(0)
    model = build_model(ModelConfig(arch=tiny_arch))
    facts = {"weights": "last", "samples_seen": 5, "step": 1, "recipe": {}}
    tokenizer = build_tokenizer(model.description.model_cfg)
    publish(folder, model.clip.state_dict(), model.description, tokenizer, facts)
    return folder


@pytest.fixture
def folder(request, tmp_path):
    own = request.getfixturevalue("ours") if request.param == "ours" else None
    return own or build_folder(tmp_path / request.param, request.param)


@pytest.mark.parametrize("folder", ["ours", "clip", "siglip"], indirect=True)
def test_both_towers_are_compiled_where_it_is_asked_for(folder, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self)))
    plain = vlp.load(folder, "cpu")
    assert compiled == []
    other = vlp.load(folder, "cpu", compile=True)
    assert len(compiled) == 2
    assert "Vision" in compiled[0].__name__
    assert other.fingerprint == plain.fingerprint
    difference = other.encode_text(TEXTS) - plain.encode_text(TEXTS)
    assert difference.abs().max() <= 1e-5


@pytest.mark.parametrize("folder", ["ours"], indirect=True)
def test_compiled_towers_give_the_same(folder, monkeypatch):
    """Traced as for any backend; this one needs no compiler and no cache that others write to."""
    own = partialmethod(torch.nn.Module.compile, backend="aot_eager")
    monkeypatch.setattr(torch.nn.Module, "compile", own)
    plain, compiled = vlp.load(folder, "cpu"), vlp.load(folder, "cpu", compile=True)
    pixels = torch.randint(0, 256, (5, 3, *plain.image_size), dtype=torch.uint8)
    difference = compiled.encode_image(pixels) - plain.encode_image(pixels)
    assert difference.abs().max() <= 1e-5
    difference = compiled.encode_text(TEXTS) - plain.encode_text(TEXTS)
    assert difference.abs().max() <= 1e-5
