"""Folders for onnxruntime: the features of open_clip and transformers, by onnxruntime itself."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer

import vlp
from tests.vlp.export.cards import run_programs
from tests.vlp.export.tiny import (
    CLIP,
    COCA,
    CONVOLUTIONAL,
    PREPROCESSING,
    TEXT,
    TEXTS,
    changed,
    open_clip_features,
    pictures,
    write_model,
)
from tests.vlp.huggingface_folders import build_folder
from vlp.errors import InputError
from vlp.export import onnx_folder
from vlp.export.exporting import export_model
from vlp.export.snippet import usage
from vlp.export.tokenizer_json import write_tokenizer

TINY_TEXT = {**TEXT, "width": 16, "layers": 1, "context_length": 12}
TIMM = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 64, **CONVOLUTIONAL},
    "text_cfg": TINY_TEXT,
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model's folder and what has been exported of it; an export takes seconds."""
    root = tmp_path_factory.mktemp("exports")
    folder = write_model(root / "timm", TIMM)
    return folder, export_model(folder, "onnx", root / "timm out")


def run(folder, tower, values):
    session = onnxruntime.InferenceSession(folder / f"{tower}.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: values})
    return torch.from_numpy(found)


def token_rows(folder, texts):
    rows = Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch(texts)
    return np.array([row.ids for row in rows], dtype=np.int64)


def test_features_are_those_of_open_clip(exported):
    folder, done = exported
    images = pictures((64, 64), (192, 128), (67, 64))
    image, text = open_clip_features(folder, images, TEXTS)
    pixels = torch.stack([vlp.load(folder, device="cpu").preprocess(own) for own in images])
    assert (run(done.folder, "image", pixels.numpy()) - image).abs().max() <= 1e-5
    assert (run(done.folder, "text", token_rows(done.folder, TEXTS)) - text).abs().max() <= 1e-5
    assert done.checked.largest <= 1e-5


SMALL = changed(CLIP, vision={"layers": 1}, text=TINY_TEXT)
RECTANGLE = changed(SMALL, vision={"image_size": [24, 40]})
PREPARED = {
    "shortest": (SMALL, {}),
    "bilinear": (SMALL, {"interpolation": "bilinear"}),
    "squash": (SMALL, {"resize_mode": "squash"}),
    "longest": (SMALL, {"resize_mode": "longest", "fill_color": 100, "interpolation": "bilinear"}),
    "rectangle": (RECTANGLE, {"size": [24, 40], "interpolation": "bilinear"}),
    "squashed rectangle": (RECTANGLE, {"size": [24, 40], "resize_mode": "squash"}),
    "longest rectangle": (RECTANGLE, {"size": [24, 40], "resize_mode": "longest"}),
}


@pytest.mark.parametrize("name", PREPARED)
def test_the_program_of_the_card_prepares_pictures_as_open_clip(name, tmp_path):
    config, more = PREPARED[name]
    encoder = vlp.load(write_model(tmp_path / "model", config, {**PREPROCESSING, **more}), "cpu")
    program, _, _ = usage("onnx", encoder, "out").partition("\ntokenizer =")
    names = {}
    exec(program, names)
    sizes = [(64, 64), (67, 64), (64, 71), (65, 66), (200, 31), (7, 90), (129, 64), (40, 24)]
    for image in pictures(*sizes, (32, 32), (10, 9)):
        assert np.array_equal(names["prepare"](image), encoder.preprocess(image).numpy())
    turned = image.copy()
    turned.getexif()[274] = 6  # taken with the camera on its side: EXIF's orientation
    upright = image.transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(names["prepare"](turned), encoder.preprocess(upright).numpy())


def test_text_towers_of_other_kinds(tmp_path):
    """That of CoCa, with a class token, by open_clip, and CLIP's by transformers."""
    coca = write_model(tmp_path / "coca", COCA)
    _, expected = open_clip_features(coca, pictures((32, 32)), TEXTS)
    clip = vlp.load(build_folder(tmp_path / "clip", "clip"), device="cpu")
    words = ["a photo of two dogs", "DOGS on the LEFT", "", "red " * 30]
    for encoder, texts, text in [
        (vlp.load(coca, device="cpu"), TEXTS, expected),
        (clip, words, clip.encode_text(words, report_truncated=False)),
    ]:
        rows = write_tokenizer(encoder).fixed.encode_batch(texts)
        tokens = torch.tensor([row.ids for row in rows])
        names = ("tokens", "text_features")
        tower = onnx_folder.TextTower(encoder)
        onnx_folder._export(tower, tokens[:2], tmp_path / "text.onnx", names)
        assert (run(tmp_path, "text", tokens.numpy()) - text).abs().max() <= 1e-5


def test_a_folder_of_hugging_face(tmp_path, monkeypatch):
    folder = build_folder(tmp_path / "model", "siglip")
    export_model(folder, "onnx", tmp_path / "out")
    names = run_programs(tmp_path / "out", pictures((50, 50))[0], monkeypatch)
    encoder = vlp.load(folder, device="cpu")
    images = pictures((24, 24), (27, 24), (24, 90), (61, 33))
    pixels = np.stack([names["prepare"](own) for own in images])
    image = run(tmp_path / "out", "image", pixels)
    texts = ["a photo of two dogs", "DOGS on the LEFT", "", "red " * 30]
    text = run(tmp_path / "out", "text", token_rows(tmp_path / "out", texts))
    ours = encoder.encode_text(texts, report_truncated=False)
    assert (encoder.encode_image(images) - image).abs().max() <= 1e-5
    assert (ours - text).abs().max() <= 1e-5


def test_the_description_says_what_goes_in_and_comes_out(exported):
    folder, done = exported
    config = json.loads((done.folder / "config.json").read_text())
    image = onnxruntime.InferenceSession(done.folder / config["image"]["file"])
    text = onnxruntime.InferenceSession(done.folder / config["text"]["file"])
    assert config["image"]["input"]["shape"] == ["batch", 3, 64, 64] == image.get_inputs()[0].shape
    assert config["image"]["input"]["dtype"] == "uint8"
    assert image.get_inputs()[0].type == "tensor(uint8)"
    assert config["text"]["input"]["shape"] == ["batch", 12] == text.get_inputs()[0].shape
    assert config["text"]["output"]["name"] == text.get_outputs()[0].name
    assert config["image"]["output"]["shape"] == ["batch", 16] == image.get_outputs()[0].shape
    encoder = vlp.load(folder, device="cpu")
    assert config["logit_scale"] == pytest.approx(float(encoder.scale))


def test_the_graphs_do_not_say_where_they_were_made(exported):
    _, done = exported
    for name in ("image.onnx", "text.onnx"):
        assert b".py" not in (done.folder / name).read_bytes()


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_folder, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"onnxruntime: pip install 'vlp\[onnx\]'"):
        export_model(tmp_path, "onnx", tmp_path / "out")


def test_an_old_torch_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(InputError, match=r"needs torch 2\.6 or newer, found 2\.5\.1"):
        export_model(tmp_path, "onnx", tmp_path / "out")
