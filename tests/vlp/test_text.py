"""Cutting captions at the batch's longest: exact where it is done, and done nowhere else."""

import copy
import json

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.factory import get_model_config

from tests.conftest import TINY
from vlp.model import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer

KEEP = (
    "embed_cls",
    "no_causal_mask",
    "pool_type",
    "eos_id",
    "pad_id",
    "proj_bias",
    "proj_type",
    "tokenizer_kwargs",
    "text_mask",
)  # what decides how a text tower attends


def model_of(tmp_path, custom_text=False, **text):
    config = copy.deepcopy(TINY) | {"custom_text": custom_text}
    config["text_cfg"] |= text
    path = tmp_path / "m.json"
    path.write_text(json.dumps(config))
    torch.manual_seed(0)
    model = build_model(ModelConfig(arch=str(path))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def stock_features(model, tokens):
    return torch.nn.functional.normalize(model.clip.encode_text(tokens), dim=-1)


def text_configs():
    """The distinct ways in which open_clip's own text towers attend and pool."""
    found = {}
    for name in open_clip.list_models():
        config = get_model_config(name)
        text = config["text_cfg"]
        if "hf_model_name" in text or "multimodal_cfg" in config:
            continue
        options = {k: text[k] for k in KEEP if k in text and k != "tokenizer_kwargs"}
        found[json.dumps([options, config.get("custom_text", False)], sort_keys=True)] = name
    return [pytest.param(*json.loads(key), id=name) for key, name in found.items()]


@pytest.mark.parametrize(("options", "custom_text"), text_configs())
def test_every_open_clip_text_tower_is_cut_exactly_or_not_at_all(tmp_path, options, custom_text):
    model = model_of(tmp_path, custom_text, **options)
    tokens = build_tokenizer(model.description.model_cfg)(["a dog", "two small red cats sit"])
    if options.get("eos_id") and options.get("pool_type") == "eos":
        tokens[tokens == 49407] = options["eos_id"]
    with torch.no_grad():
        whole = stock_features(model, tokens)
        if model.trimmer is None:
            assert options.get("no_causal_mask") or options.get("pool_type") in ("first", "last")
            assert torch.equal(model.encode_text(tokens), whole)
            return
        cut = model.trimmer(tokens)
        assert cut.shape[1] == 8 < tokens.shape[1]
        assert (model.encode_text(cut) - whole).abs().max() <= 1e-5


@pytest.mark.parametrize(
    "options",
    [
        {"no_causal_mask": True},
        {"pool_type": "last"},
        {"pool_type": "first"},
        {"embed_cls": True},
    ],
)
def test_towers_that_see_the_padding_are_never_cut(tmp_path, options):
    assert model_of(tmp_path, True, **options).trimmer is None


@given(texts=st.lists(st.text("ab c", min_size=1, max_size=40), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_cutting_is_exact_for_any_texts(tmp_path_factory, texts):
    model = model_of(tmp_path_factory.mktemp("m"))
    tokens = build_tokenizer(model.description.model_cfg)(texts)
    with torch.no_grad():
        difference = model.encode_text(model.trimmer(tokens)) - stock_features(model, tokens)
    assert difference.abs().max() <= 1e-5


def test_gradients_are_those_of_the_whole_sequence(tmp_path):
    model = model_of(tmp_path)
    tokens = build_tokenizer(model.description.model_cfg)(["a dog", "two small red cats"])
    grads = []
    for features in (model.encode_text(model.trimmer(tokens)), stock_features(model, tokens)):
        model.zero_grad()
        features[:, 0].sum().backward()
        grads.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[1].items():
        assert torch.allclose(grads[0][name], grad, atol=1e-6), name


def test_cut_captions_are_counted(tmp_path):
    tokenizer = build_tokenizer(model_of(tmp_path).description.model_cfg)
    texts = ["short", "a " * 14, "a " * 15, "a " * 40]  # start and end take two of 16 positions
    assert tokenizer.truncated(texts, tokenizer(texts)) == 2
