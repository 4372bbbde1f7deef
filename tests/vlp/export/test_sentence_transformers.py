"""Folders for sentence-transformers: `SentenceTransformer(DIR)` gives the features of open_clip."""

import json

import pytest
import torch
from sentence_transformers import SentenceTransformer

import vlp
from tests.vlp.export.cards import run_programs
from tests.vlp.export.tiny import (
    CLIP,
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
from vlp.errors import InputError
from vlp.export import sentence_transformers_folder
from vlp.export.exporting import export_model

ALIKE = pictures((32, 32), (40, 32), (32, 41), (72, 64))
MODELS = {"clip": (CLIP, {}), "siglip": (SIGLIP, {"resize_mode": "squash"})}


@pytest.mark.parametrize("name", MODELS)
def test_features_are_those_of_open_clip(name, tmp_path, monkeypatch):
    config, more = MODELS[name]
    folder = write_model(tmp_path / "model", config, {**PREPROCESSING, **more})
    done = export_model(folder, "sentence-transformers", tmp_path / "out")
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    image, text = open_clip_features(folder, ALIKE, TEXTS)
    assert (torch.from_numpy(model.encode(ALIKE)) - image).abs().max() <= 1e-5
    assert (torch.from_numpy(model.encode(TEXTS)) - text).abs().max() <= 1e-5
    assert model.max_seq_length == config["text_cfg"]["context_length"]
    assert done.checked.largest <= 1e-5
    settings = json.loads((tmp_path / "out" / "modules.json").read_text())
    assert all(own["type"].startswith("sentence_transformers.") for own in settings)
    names = run_programs(tmp_path / "out", ALIKE[0], monkeypatch)
    assert names["images"].shape == (1, config["embed_dim"])
    assert names["texts"].shape == (2, config["embed_dim"])


def test_a_folder_of_hugging_face(tmp_path):
    folder = build_folder(tmp_path / "model", "siglip")
    export_model(folder, "sentence-transformers", tmp_path / "out")
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    ours = vlp.load(folder, device="cpu")
    texts = ["a photo of two dogs", "DOGS on the LEFT", "red"]
    images = pictures((24, 24), (50, 31), (31, 50))
    assert (torch.from_numpy(model.encode(images)) - ours.encode_image(images)).abs().max() <= 1e-5
    assert (torch.from_numpy(model.encode(texts)) - ours.encode_text(texts)).abs().max() <= 1e-5


def test_what_transformers_cannot_express_is_refused(tmp_path):
    config = changed(CLIP, vision_cfg={"image_size": 64, **CONVOLUTIONAL})
    folder = write_model(tmp_path / "model", config)
    with pytest.raises(InputError, match=r"timm's test_byobnet.*Formats that can: open_clip, onnx"):
        export_model(folder, "sentence-transformers", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sentence_transformers_folder, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'vlp\[sentence-transformers\]'"):
        export_model(tmp_path, "sentence-transformers", tmp_path / "out")
