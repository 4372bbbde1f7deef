"""Folders for open_clip: the features of open_clip, and the same model for us."""

import json

import pytest
import torch
from safetensors.torch import load_file

import vlp
from tests.vlp.export.cards import run_programs
from tests.vlp.export.tiny import (
    CLIP,
    COCA,
    CONVOLUTIONAL,
    PREPROCESSING,
    SIGLIP,
    TEXTS,
    changed,
    open_clip_features,
    pictures,
    write_model,
)
from tests.vlp.huggingface_folders import build_folder
from vlp.checkpoint import publish, published_state
from vlp.encoder import Encoder
from vlp.errors import InputError
from vlp.export.exporting import export_model
from vlp.model.build import ModelConfig, build_model
from vlp.model.captioner import CaptionerConfig
from vlp.model.tokens import build_tokenizer

IMAGES = pictures((32, 32), (35, 32), (32, 90), (61, 44))
LONGEST = {"resize_mode": "longest", "interpolation": "bilinear"}
MODELS = {
    "vit": (changed(CLIP, quick_gelu=True), {}),
    "timm": (changed(CLIP, vision_cfg={"image_size": 64, **CONVOLUTIONAL}), LONGEST),
    "siglip": (SIGLIP, {"resize_mode": "squash"}),
    "coca": (COCA, {}),
}


@pytest.mark.parametrize("name", MODELS)
def test_features_are_those_of_the_model(name, tmp_path, monkeypatch):
    config, more = MODELS[name]
    folder = write_model(tmp_path / "model", config, {**PREPROCESSING, **more})
    done = export_model(folder, "open_clip", tmp_path / "out")
    before = open_clip_features(folder, IMAGES, TEXTS)
    after = open_clip_features(tmp_path / "out", IMAGES, TEXTS)
    assert all(map(torch.equal, before, after))
    assert done.checked.largest <= 1e-5
    ours, again = vlp.load(folder, device="cpu"), vlp.load(tmp_path / "out", device="cpu")
    assert again.fingerprint == ours.fingerprint
    assert again.protocol == ours.protocol
    names = run_programs(tmp_path / "out", IMAGES[0], monkeypatch)
    assert (names["images"] @ names["texts"].T).shape == (1, 2)


def test_a_checkpoints_card_goes_along(tmp_path):
    (tmp_path / "run").mkdir()
    arch = tmp_path / "arch.json"
    arch.write_text(json.dumps({"model_cfg": CLIP, "preprocess_cfg": PREPROCESSING}))
    head = CaptionerConfig(layers=1, heads=2)
    model = build_model(ModelConfig(arch=str(arch), captioner=head))
    tokenizer = build_tokenizer(CLIP)
    facts = {"weights": "ema", "samples_seen": 1000, "step": 10, "recipe": {"batch": 100}}
    state = published_state(model)
    publish(tmp_path / "run", state, model.description, tokenizer, facts)
    done = export_model(tmp_path / "run", "open_clip", tmp_path / "out")
    before, after = (
        json.loads((tmp_path / name / "vlp.json").read_text()) for name in ("run", "out")
    )
    assert before.pop("name") == str(arch)
    assert after.pop("name") == ".../arch.json"
    assert before == after
    assert done.fingerprint == Encoder(model, tokenizer).fingerprint
    assert load_file(tmp_path / "out" / "vlp_captioner.safetensors").keys()
    assert any("vlp_captioner.safetensors" in note for note in done.checked.notes)
    image = vlp.load(tmp_path / "out", device="cpu").caption(IMAGES[0], max_length=3)
    assert image == vlp.load(tmp_path / "run", device="cpu").caption(IMAGES[0], max_length=3)


def test_a_folder_of_hugging_face_is_refused(tmp_path):
    folder = build_folder(tmp_path / "model", "clip")
    with pytest.raises(InputError, match=r"crops at another pixel.*formats for this model: trans"):
        export_model(folder, "open_clip", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
