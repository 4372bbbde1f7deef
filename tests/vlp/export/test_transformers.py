"""Folders for transformers: what open_clip gives, by transformers' own model and processor."""

import json
import shutil

import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor, pipeline

import vlp
from tests.vlp.export.tiny import (
    CLIP,
    PREPROCESSING,
    SIGLIP,
    TEXTS,
    changed,
    open_clip_features,
    pictures,
    write_model,
)
from tests.vlp.huggingface_folders import build_folder
from vlp.errors import InputError, RunError
from vlp.export import clip_model
from vlp.export.exporting import export_model

# as open_clip crops them; of other sizes transformers crops some a pixel beside
ALIKE = pictures((32, 32), (40, 32), (32, 41), (72, 64), (20, 20))
OLD = transformers.__version__ < "5"
EXACT = {"use_fast": False} if OLD else {"backend": "pil"}
MODELS = {
    "clip": (changed(CLIP, init_logit_bias=-10), {}),
    "squashed": (CLIP, {"resize_mode": "squash", "interpolation": "bilinear"}),
    "siglip": (SIGLIP, {"resize_mode": "squash"}),
    "cropped siglip": (SIGLIP, {"interpolation": "bilinear"}),
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Of each model its folder and what has been exported, also as `.folder`."""
    root = tmp_path_factory.mktemp("exports")
    found = {}
    for name, (config, more) in MODELS.items():
        folder = write_model(root / name, config, {**PREPROCESSING, **more})
        found[name] = folder, export_model(folder, "transformers", root / f"{name} out")
    return found


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


@pytest.mark.parametrize("name", MODELS)
def test_pictures_and_texts_give_the_features_of_open_clip(name, exports):
    if OLD and name == "cropped siglip":
        pytest.skip("its processor of SigLIP has no crop")
    folder, done = exports[name]
    squash = "resize_mode" in MODELS[name][1]
    images = [*ALIKE, *pictures((35, 32), (60, 200))] if squash else ALIKE
    expected = open_clip_features(folder, images, TEXTS)
    found = transformers_features(done.folder, images, TEXTS, **EXACT)
    for ours, theirs in zip(expected, found, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5
    assert done.checked.largest <= 1e-5
    rounded, _ = transformers_features(done.folder, images, TEXTS)
    assert (F.cosine_similarity(rounded, expected[0]) > 0.9999).all()
    assert any("pixel beside" in note for note in done.checked.notes) != squash


def test_a_pipeline_classifies_as_open_clip(exports):
    folder, done = exports["clip"]
    classify = pipeline("zero-shot-image-classification", model=str(done.folder), device="cpu")
    labels = ["a dog", "TWO “cats”", "café"]
    image, text = open_clip_features(folder, ALIKE[:1], [f"a photo of {own}" for own in labels])
    scale = vlp.load(folder, device="cpu").scale
    expected = dict(zip(labels, (scale * image @ text.T).softmax(-1)[0].tolist(), strict=True))
    found = classify(ALIKE[0], candidate_labels=labels, hypothesis_template="a photo of {}")
    assert {own["label"]: own["score"] for own in found} == pytest.approx(expected, abs=1e-4)


def test_what_we_load_of_the_folder_is_the_same_model(exports):
    folder, done = exports["clip"]
    ours, again = vlp.load(folder, device="cpu"), vlp.load(done.folder, device="cpu")
    assert (ours.encode_image(ALIKE) - again.encode_image(ALIKE)).abs().max() <= 1e-5
    texts = [model.encode_text(TEXTS, report_truncated=False) for model in (ours, again)]
    assert (texts[0] - texts[1]).abs().max() <= 1e-5
    assert again.context_length == 20


def test_what_is_lost_is_said(exports):
    assert any("no logit bias" in note for note in exports["clip"][1].checked.notes)
    notes = exports["siglip"][1].checked.notes
    assert any("to 64 tokens, and this model reads 12" in note for note in notes)


def test_an_image_processor_of_siglip_is_siglips_own_where_it_can_be(exports):
    kinds = {
        name: json.loads((done.folder / "preprocessor_config.json").read_text())
        for name, (_, done) in exports.items()
    }
    assert kinds["siglip"]["image_processor_type"] == "SiglipImageProcessor"
    assert kinds["cropped siglip"]["image_processor_type"] == "CLIPImageProcessor"


@pytest.mark.parametrize("family", ["clip", "legacy", "siglip"])
def test_folders_of_hugging_face_are_copied(family, tmp_path):
    folder = build_folder(tmp_path / "model", family)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    done = export_model(folder, "transformers", tmp_path / "out")
    texts = ["a photo of two dogs", "DOGS on the LEFT", ""]
    ours = vlp.load(folder, device="cpu")
    image, text = transformers_features(tmp_path / "out", ALIKE, texts, **EXACT)
    assert (ours.encode_image(ALIKE) - image).abs().max() <= 1e-5
    assert (ours.encode_text(texts) - text).abs().max() <= 1e-5
    assert not (tmp_path / "out" / "pytorch_model.bin").exists()
    assert bool(done.checked.notes) == (family == "siglip")  # whose tokenizer kept capitals


@pytest.mark.parametrize("said", ["float16", None])
def test_weights_in_half_precision_are_loaded_as_we_do(said, tmp_path):
    folder = build_folder(tmp_path / "model", "clip")
    weights = folder / "model.safetensors"
    halves = {name: value.half() for name, value in load_file(weights).items()}
    save_file(halves, weights, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config |= {"dtype": said, "_name_or_path": "/home/me/models/clip"}
    (folder / "config.json").write_text(json.dumps(config))
    done = export_model(folder, "transformers", tmp_path / "out")
    image, _ = transformers_features(tmp_path / "out", ALIKE, ["red"], **EXACT)
    assert (vlp.load(folder, device="cpu").encode_image(ALIKE) - image).abs().max() <= 1e-5
    assert bool(done.checked.notes) == (said is not None)
    assert not any(b"/me/" in path.read_bytes() for path in (tmp_path / "out").iterdir())


def test_pictures_of_another_size_than_the_models_are_refused(tmp_path):
    folder = build_folder(tmp_path / "model", "siglip")
    config = json.loads((folder / "preprocessor_config.json").read_text())
    config["size"] = {"height": 32, "width": 32}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"pictures of \(32, 32\).*reads 24.*can: onnx"):
        export_model(folder, "transformers", tmp_path / "out")


def test_a_wrong_conversion_is_not_kept(exports, tmp_path, monkeypatch):
    folder, _ = exports["clip"]
    right = clip_model._image_state

    def wrong(state, layers):
        return {n: v * 1.01 if "pre_layrnorm" in n else v for n, v in right(state, layers).items()}

    monkeypatch.setattr(clip_model, "_image_state", wrong)
    with pytest.raises(RunError, match="image features of transformers differ from ours"):
        export_model(folder, "transformers", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_of_a_model_that_is_refused(exports, tmp_path):
    folder = shutil.copytree(exports["clip"][0], tmp_path / "model")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["resize_mode"] = "longest"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="resize_mode 'longest'"):
        export_model(folder, "transformers", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
