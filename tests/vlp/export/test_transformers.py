"""Folders for transformers: features of open_clip, by transformers itself; what is refused."""

import json

import pytest
import torch
import torch.nn.functional as F
import transformers
from transformers import AutoModel, AutoProcessor, pipeline

import vlp
from tests.vlp.export.tiny import (
    CLIP,
    COCA,
    CONVOLUTIONAL,
    PREPROCESSING,
    SIGLIP,
    SQUASHED,
    TEXTS,
    changed,
    open_clip_features,
    pictures,
    write_model,
)
from vlp.errors import InputError
from vlp.export.exporting import export_model

TANH = {"act_kwargs": {"approximate": "tanh"}}
EPS = {"norm_kwargs": {"eps": 1e-2}}
# as open_clip crops them; of other sizes transformers crops some a pixel beside
ALIKE = pictures((32, 32), (40, 32), (32, 41), (72, 64), (20, 20))
EXACT = {"use_fast": False} if transformers.__version__ < "5" else {"backend": "pil"}
EXPRESSIBLE = {
    "plain": CLIP,
    "quick_gelu": changed(CLIP, quick_gelu=True),
    "text tower of its own": changed(CLIP, custom_text=True, init_logit_bias=-10),
    "GELU by tanh": changed(CLIP, vision=TANH, text=TANH),
    "GELU by tanh in one tower": changed(CLIP, text=TANH),
    "epsilon": changed(CLIP, vision=EPS, text={"norm_kwargs": {"eps": 1e-3}}),
    "layer scale": changed(CLIP, vision={"ls_init_value": 0.3}, text={"ls_init_value": 0.2}),
    "mlp_ratio": changed(CLIP, vision={"mlp_ratio": 2}, text={"mlp_ratio": 3}),
    "heads": changed(CLIP, vision={"head_width": 8}, text={"heads": 4}),
    "sizes": changed(CLIP, vision={"image_size": 35, "layers": 3}, text={"layers": 1, "width": 48}),
    "final_ln_after_pool": changed(CLIP, vision={"final_ln_after_pool": True}),
    "sin_cos_2d": changed(CLIP, vision={"pos_embed_type": "sin_cos_2d"}),
    "patch_dropout": changed(CLIP, vision={"patch_dropout": 0.5}),
    "pool_type eos": changed(CLIP, text={"pool_type": "eos", "eos_id": 49407}),
    "no projection": changed(CLIP, embed_dim=32, custom_text=True, text={"proj_type": "none"}),
    "scale of one element": changed(CLIP, nonscalar_logit_scale=True),
    "canonical texts": changed(CLIP, text={"tokenizer_kwargs": {"clean": "canonicalize"}}),
    "capitals kept": changed(CLIP, text={"tokenizer_kwargs": {"clean": "whitespace"}}),
    "siglip": SIGLIP,
    "siglip, other activation": changed(
        SIGLIP, vision={"timm_model_name": "tiny_siglip_tanh"}, text=TANH
    ),
    "siglip, no bias": changed(SIGLIP, text={"proj_bias": False}, init_logit_bias=None),
    "siglip, no projection": changed(SIGLIP, text={"proj_type": "none"}),
    "siglip, layer scale": changed(SIGLIP, text={"ls_init_value": 0.2}),
}
RESNET = {"layers": [1, 1, 1, 1], "width": 16, "image_size": 64, "head_width": 16}
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
    "not the highest id": changed(
        CLIP,
        text={"vocab_size": 49409, "tokenizer_kwargs": {"additional_special_tokens": ["<x>"]}},
    ),
    "at random (reduction_mask)": changed(
        CLIP, text={"tokenizer_kwargs": {"reduction_mask": "random"}}
    ),
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


@torch.no_grad()
def transformers_features(folder, images, texts, **options):
    model = AutoModel.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder, **options)
    padding = "max_length" if model.config.model_type == "siglip" else True
    inputs = processor(
        images=images, text=texts, padding=padding, truncation=True, return_tensors="pt"
    )
    found = model(**inputs)
    return F.normalize(found.image_embeds, dim=-1), F.normalize(found.text_embeds, dim=-1)


@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_features_are_those_of_open_clip(name, tmp_path):
    config = EXPRESSIBLE[name]
    preprocessing = SQUASHED if "siglip" in name else PREPROCESSING
    folder = write_model(tmp_path / "model", config, preprocessing)
    done = export_model(folder, "transformers", tmp_path / "out")
    size = config["vision_cfg"]["image_size"]
    images = ALIKE if size == 32 else pictures((size, size), (2 * size + 1, 2 * size - 7))
    expected = open_clip_features(folder, images[:4], TEXTS)
    found = transformers_features(tmp_path / "out", images[:4], TEXTS, **EXACT)
    for ours, theirs in zip(expected, found, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5
        assert (ours[0] - ours[1]).abs().max() > 1e-2  # features that are all alike prove nothing
    assert done.checked.largest <= 1e-5


@pytest.mark.parametrize("reason", REFUSED)
def test_what_transformers_has_no_place_for_is_refused_by_name(reason, tmp_path):
    folder = write_model(tmp_path / "model", REFUSED[reason])
    with pytest.raises(InputError) as error:
        export_model(folder, "transformers", tmp_path / "out")
    assert reason in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_resize_to_the_longer_side_is_refused(tmp_path):
    folder = write_model(tmp_path / "model", CLIP, {**PREPROCESSING, "resize_mode": "longest"})
    with pytest.raises(InputError, match=r"resize_mode 'longest'.*can: open_clip, onnx"):
        export_model(folder, "transformers", tmp_path / "out")


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("config", [CLIP, SIGLIP], ids=["clip", "siglip"])
def test_pictures_are_prepared_as_by_open_clip(config, mode, interpolation, tmp_path):
    more = {"interpolation": interpolation, "resize_mode": mode}
    folder = write_model(tmp_path / "model", config, {**PREPROCESSING, **more})
    done = export_model(folder, "transformers", tmp_path / "out")
    images = [*ALIKE, *pictures((35, 32), (60, 200))] if mode == "squash" else ALIKE
    expected, _ = open_clip_features(folder, images, TEXTS)
    found, _ = transformers_features(tmp_path / "out", images, TEXTS, **EXACT)
    assert (expected - found).abs().max() <= 1e-5
    rounded, _ = transformers_features(tmp_path / "out", images, TEXTS)
    assert (F.cosine_similarity(rounded, expected) > 0.9999).all()
    beside = any("pixel beside" in note for note in done.checked.notes)
    assert beside == (mode == "shortest")


def test_a_pipeline_classifies_as_open_clip(tmp_path):
    folder = write_model(tmp_path / "model")
    export_model(folder, "transformers", tmp_path / "out")
    classify = pipeline(
        "zero-shot-image-classification", model=str(tmp_path / "out"), device="cpu"
    )
    labels = ["a dog", "TWO “cats”", "café"]
    image, text = open_clip_features(folder, ALIKE[:1], [f"a photo of {own}" for own in labels])
    scale = vlp.load(folder, device="cpu").scale
    expected = dict(zip(labels, (scale * image @ text.T).softmax(-1)[0].tolist(), strict=True))
    found = classify(ALIKE[0], candidate_labels=labels, hypothesis_template="a photo of {}")
    assert {own["label"]: own["score"] for own in found} == pytest.approx(expected, abs=1e-4)


def test_what_we_load_of_the_folder_is_the_same_model(tmp_path):
    folder = write_model(tmp_path / "model")
    export_model(folder, "transformers", tmp_path / "out")
    ours, again = vlp.load(folder, device="cpu"), vlp.load(tmp_path / "out", device="cpu")
    assert (ours.encode_image(ALIKE) - again.encode_image(ALIKE)).abs().max() <= 1e-5
    options = {"report_truncated": False}
    assert (ours.encode_text(TEXTS, **options) - again.encode_text(TEXTS, **options)).abs().max() <= 1e-5
    assert again.context_length == 20


def test_what_is_lost_is_said(tmp_path):
    folder = write_model(tmp_path / "model", changed(CLIP, init_logit_bias=-10))
    done = export_model(folder, "transformers", tmp_path / "out")
    assert any("no logit bias" in note for note in done.checked.notes)
    folder = write_model(tmp_path / "siglip", SIGLIP, SQUASHED)
    done = export_model(folder, "transformers", tmp_path / "out2")
    assert any("to 64 tokens, and this model reads 12" in note for note in done.checked.notes)
    config = json.loads((tmp_path / "out2" / "config.json").read_text())
    assert config["model_type"] == "siglip"
