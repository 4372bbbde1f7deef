"""Towers of open_clip as models of transformers: the same features, option by option."""

import json

import pytest
import torch
from transformers import CLIPModel, SiglipModel

from tests.vlp.export.tiny import (
    CLIP,
    COCA,
    CONVOLUTIONAL,
    PREPROCESSING,
    SIGLIP,
    changed,
    perturb,
    register_towers,
    write_words,
)
from vlp.encoder import Encoder
from vlp.errors import InputError
from vlp.export.clip_model import to_clip
from vlp.export.siglip_model import to_siglip
from vlp.export.transformers_folder import family_of
from vlp.model.build import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer

END = 49407  # of CLIP's tokenizer, its highest id
TANH = {"act_kwargs": {"approximate": "tanh"}}
RESNET = {"layers": [1, 1, 1, 1], "width": 16, "image_size": 64, "head_width": 16}
CLIPS = {
    "plain": CLIP,
    "quick_gelu": changed(CLIP, quick_gelu=True),
    "text tower of its own": changed(CLIP, custom_text=True, init_logit_bias=-10),
    "GELU by tanh": changed(CLIP, vision=TANH, text=TANH),
    "GELU by tanh in one tower": changed(CLIP, text=TANH),
    "epsilon": changed(
        CLIP, vision={"norm_kwargs": {"eps": 1e-2}}, text={"norm_kwargs": {"eps": 1e-3}}
    ),
    "layer scale": changed(CLIP, vision={"ls_init_value": 0.3}, text={"ls_init_value": 0.2}),
    "mlp_ratio": changed(CLIP, vision={"mlp_ratio": 2}, text={"mlp_ratio": 3}),
    "heads": changed(CLIP, vision={"head_width": 8}, text={"heads": 4}),
    "sizes": changed(CLIP, vision={"image_size": 35, "layers": 3}, text={"layers": 1, "width": 48}),
    "final_ln_after_pool": changed(CLIP, vision={"final_ln_after_pool": True}),
    "sin_cos_2d": changed(CLIP, vision={"pos_embed_type": "sin_cos_2d"}),
    "patch_dropout": changed(CLIP, vision={"patch_dropout": 0.5}),
    "pool_type eos": changed(CLIP, text={"pool_type": "eos", "eos_id": END}),
    "no projection": changed(CLIP, embed_dim=32, custom_text=True, text={"proj_type": "none"}),
    "scale of one element": changed(CLIP, nonscalar_logit_scale=True),
}
SIGLIPS = {
    "siglip": SIGLIP,
    "other activation": changed(SIGLIP, vision={"timm_model_name": "tiny_siglip_tanh"}, text=TANH),
    "no bias": changed(SIGLIP, text={"proj_bias": False}, init_logit_bias=None),
    "no projection": changed(SIGLIP, text={"proj_type": "none"}),
    "layer scale": changed(SIGLIP, text={"ls_init_value": 0.2}),
    "epsilon": changed(SIGLIP, text={"norm_kwargs": {"eps": 1e-2}}),
}
REFUSED = {
    "no_ln_pre": changed(CLIP, vision={"no_ln_pre": True}),
    "pool_type 'avg'": changed(CLIP, vision={"pool_type": "avg"}),
    "attentional_pool": changed(
        CLIP, vision={"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 1}
    ),
    "not square": changed(CLIP, vision={"image_size": [32, 48]}),
    "qk_norm": changed(CLIP, vision={"qk_norm": True}),
    "ModifiedResNet": changed(CLIP, vision_cfg=RESNET),
    "timm's test_byobnet": changed(CLIP, vision_cfg={"image_size": 64, **CONVOLUTIONAL}),
    "no_causal_mask": changed(CLIP, custom_text=True, text={"no_causal_mask": True}),
    "embed_cls": COCA,
    "proj_bias": changed(CLIP, custom_text=True, text={"proj_bias": True}),
    "pool_type 'last'": changed(CLIP, text={"pool_type": "last"}),
    "eos_id 2": changed(CLIP, text={"pool_type": "eos"}),
    "class or register tokens": changed(
        SIGLIP, vision={"timm_model_name": "tiny_siglip_class_token"}
    ),
    "blocks of another kind": changed(SIGLIP, vision={"timm_model_name": "tiny_siglip_qk_norm"}),
    "no norm behind the blocks": changed(
        SIGLIP, vision={"timm_model_name": "tiny_siglip_rms_norm"}
    ),
    "(timm_proj)": changed(SIGLIP, vision={"timm_proj": "linear"}),
    "timm_pool 'avg'": changed(SIGLIP, vision={"timm_pool": "avg"}),
    "causal attention": changed(SIGLIP, text={"no_causal_mask": False}),
    "pool_type 'first' (it has 'last')": changed(SIGLIP, text={"pool_type": "first"}),
}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    write_words(folder)
    content = {"model_cfg": SIGLIP}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return {False: build_tokenizer(CLIP), True: build_tokenizer(SIGLIP, source=str(folder))}


@pytest.fixture
def encoder_of(tokenizers, tmp_path):
    """An encoder of a configuration, with random weights."""
    register_towers()

    def build(config, preprocessing=PREPROCESSING):
        path = tmp_path / "model.json"
        path.write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocessing}))
        model = build_model(ModelConfig(arch=str(path)))
        perturb(model.clip)
        return Encoder(model, tokenizers["hf_tokenizer_name" in config["text_cfg"]])

    return build


@torch.no_grad()
def compare(encoder, model, ids):
    """Features before they are made unit, by either library."""
    clip = encoder.model.clip
    pixels = torch.randn(3, 3, *encoder.image_size, generator=torch.Generator().manual_seed(0))
    pairs = [
        (clip.visual(pixels), model.get_image_features(pixel_values=pixels)),
        (clip.encode_text(ids), model.get_text_features(input_ids=ids)),
    ]
    for ours, theirs in pairs:
        theirs = getattr(theirs, "pooler_output", theirs)
        assert (ours - theirs).abs().max() <= 1e-5 * ours.abs().max().clamp(min=1)
        assert (ours[0] - ours[1]).abs().max() > 1e-2  # features all alike would prove nothing
    assert model.logit_scale.squeeze() == clip.logit_scale.squeeze()


@pytest.mark.parametrize("name", CLIPS)
def test_clip(name, encoder_of):
    encoder = encoder_of(CLIPS[name])
    assert family_of(encoder, END) == "clip"
    config, state = to_clip(encoder, END)
    model = CLIPModel(config).eval()
    model.load_state_dict(state)
    compare(encoder, model, encoder.tokenizer(["a photo", "two Dogs!", "", "dog " * 40]))


@pytest.mark.parametrize("name", SIGLIPS)
def test_siglip(name, encoder_of):
    encoder = encoder_of(SIGLIPS[name])
    assert family_of(encoder, 20) == "siglip"
    config, state = to_siglip(encoder, 1)
    model = SiglipModel(config).eval()
    model.load_state_dict(state)
    compare(encoder, model, encoder.tokenizer(["a photo", "two Dogs!", "", "dog " * 40]))
    bias = encoder.model.clip.logit_bias
    assert model.logit_bias == (0 if bias is None else bias)


@pytest.mark.parametrize("reason", REFUSED)
def test_what_transformers_has_no_place_for_is_refused_by_name(reason, encoder_of):
    with pytest.raises(InputError, match="Formats that can: open_clip, onnx") as error:
        family_of(encoder_of(REFUSED[reason]), END)
    assert reason in str(error.value)


def test_pictures_that_it_cannot_prepare_are_refused(encoder_of):
    encoder = encoder_of(CLIP, {**PREPROCESSING, "resize_mode": "longest"})
    with pytest.raises(InputError, match="resize_mode 'longest'"):
        family_of(encoder, END)


def test_a_text_tower_that_pools_the_highest_id_needs_it_to_be_the_end(encoder_of):
    with pytest.raises(InputError, match="the end token is not the highest id"):
        family_of(encoder_of(CLIP), END + 1)
