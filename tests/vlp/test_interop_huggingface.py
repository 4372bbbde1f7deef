"""Hugging Face folders: the features of transformers' own pipeline, and what is refused."""

import json
import pickle
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

import vlp
from tests.vlp.huggingface_folders import FAMILIES, PICTURES, build_folder
from vlp.errors import InputError
from vlp.interop.huggingface import HuggingFaceEncoder, is_huggingface

TEXTS = ["a photo of two dogs", "DOGS on the left", "red circle", "a", ""]
LONG = "red " * 30


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("hf")
    return {family: build_folder(root / family, family) for family in FAMILIES}


@pytest.fixture
def folder(folders, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(folders["clip"], tmp_path / "clip")


@pytest.fixture
def edit(folder):
    def change(name, **entries):
        path = folder / name
        content = json.loads(path.read_text())
        for key, value in entries.items():
            content[key] = {**content[key], **value} if key.endswith("_config") else value
        path.write_text(json.dumps(content))

    return change


def pictures():
    """Smooth and noisy ones; widths and heights leave odd and even margins to the crop."""
    rng = np.random.default_rng(0)
    found = []
    for height, width in [(24, 24), (31, 50), (50, 31), (100, 63), (27, 24), (24, 31), (7, 90)]:
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        found.append(Image.fromarray(noise))
        found.append(Image.fromarray(noise[:5, :4]).resize((width, height), Image.BILINEAR))
    return [*found, found[1].convert("L"), found[2].convert("P")]


def unit(found):
    return F.normalize(getattr(found, "pooler_output", found), dim=-1)


@torch.no_grad()
def pipeline_images(folder, use_fast, **more):
    """(pixel values, features) of transformers' own image processor and model."""
    processor = AutoImageProcessor.from_pretrained(folder, use_fast=use_fast)
    images = [image.convert("RGB") for image in pictures()]
    values = processor(images, return_tensors="pt")["pixel_values"]
    model = AutoModel.from_pretrained(folder).eval()
    return values, unit(model.get_image_features(pixel_values=values, **more))


@torch.no_grad()
def pipeline_texts(folder, texts, **options):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(texts, return_tensors="pt", **options)
    return unit(AutoModel.from_pretrained(folder).eval().get_text_features(**tokens))


@pytest.mark.parametrize("family", FAMILIES)
def test_image_features_are_those_of_transformers(folders, family):
    encoder = vlp.load(folders[family])
    values, expected = pipeline_images(folders[family], use_fast=False)
    pixels = torch.stack([encoder.preprocess(image) for image in pictures()])
    assert pixels.dtype == torch.uint8
    assert (encoder.preprocess.normalise(pixels) - values).abs().max() <= 1e-6
    features = encoder.encode_image(pictures())
    assert (features - expected).abs().max() <= 1e-5
    assert torch.equal(features, encoder.encode_image(pixels))
    spread = expected @ expected.T
    assert spread.min() < 0.9  # pictures that all look alike would prove nothing


@pytest.mark.skipif(
    transformers.__version__ < "5", reason="its older processors crop a pixel further"
)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_torchvision_backed_processor_differs_by_its_rounding_alone(folders, family):
    slow, _ = pipeline_images(folders[family], use_fast=False)
    fast, _ = pipeline_images(folders[family], use_fast=True)
    std = torch.tensor(PICTURES[family]["image_std"]).view(3, 1, 1)
    levels = ((slow - fast) * std * 255).abs()
    assert levels.max() <= 2.01
    assert levels.mean() <= 0.3


@pytest.mark.parametrize("family", ["clip", "legacy"])
def test_text_features_of_clip_are_those_of_transformers(folders, family):
    encoder = vlp.load(folders[family])
    features = encoder.encode_text(TEXTS)
    longest = pipeline_texts(folders[family], TEXTS, padding=True, truncation=True)
    whole = pipeline_texts(folders[family], TEXTS, padding="max_length", truncation=True)
    alone = torch.cat([encoder.encode_text([text]) for text in TEXTS])
    for expected in (longest, whole, alone):
        assert (features - expected).abs().max() <= 1e-5
    assert (whole @ whole.T).min() < 0.9


def test_text_features_of_siglip_are_those_it_was_trained_with(folders):
    encoder = vlp.load(folders["siglip"])
    features = encoder.encode_text(TEXTS)
    lower = [text.lower() for text in TEXTS]
    expected = pipeline_texts(folders["siglip"], lower, padding="max_length", truncation=True)
    assert (features - expected).abs().max() <= 1e-5
    alone = torch.cat([encoder.encode_text([text]) for text in TEXTS])
    assert (features - alone).abs().max() <= 1e-5
    kept = pipeline_texts(folders["siglip"], TEXTS, padding="max_length", truncation=True)
    short = pipeline_texts(folders["siglip"], lower, padding=True, truncation=True)
    assert (features - kept).abs().max() > 0.01  # what goes wrong without either
    assert (features - short).abs().max() > 0.01


def test_siglip_never_masks_its_padding(folders, tmp_path):
    """A tokenizer that gives an attention mask, as one saved without care does."""
    masked = shutil.copytree(folders["siglip"], tmp_path / "masked")
    path = masked / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {"model_input_names": ["input_ids", "attention_mask"]}
    path.write_text(json.dumps(config))
    assert "attention_mask" in AutoTokenizer.from_pretrained(masked)(["a"])
    expected = vlp.load(folders["siglip"]).encode_text(TEXTS)
    assert torch.equal(vlp.load(masked).encode_text(TEXTS), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_long_texts_are_cut_before_their_end_token_and_counted(folders, family):
    encoder = vlp.load(folders[family])
    length = {"siglip": 10}.get(family, 16)
    assert encoder.context_length == length
    room = length - (1 if family == "siglip" else 2)
    word, start = "a", encoder.encode_text([" ".join("a" * room)])
    fits, over = " ".join([word] * room), " ".join([word] * (room + 1))
    assert encoder.truncated([fits, over, "a", LONG]) == 2
    assert encoder.truncated([]) == 0
    cut = encoder.encode_text([over, LONG.replace("red", word)])
    assert torch.allclose(cut, start.expand_as(cut), atol=1e-6)
    ids = encoder.tokenizer([LONG], truncation=True, max_length=length)["input_ids"][0]
    assert len(ids) == length
    assert ids[-1] == encoder.tokenizer.eos_token_id


def test_shards_are_one_model(folders, tmp_path):
    sharded = build_folder(tmp_path / "sharded", "clip", max_shard_size="40KB")
    shards = sorted(path.name for path in sharded.glob("model-*.safetensors"))
    assert len(shards) > 1
    whole = vlp.load(folders["clip"])
    parts = vlp.load(sharded)
    assert parts.fingerprint == whole.fingerprint
    assert torch.equal(parts.encode_text(TEXTS), whole.encode_text(TEXTS))
    (sharded / shards[0]).unlink()
    with pytest.raises(InputError, match=f"missing {shards[0]}"):
        vlp.load(sharded)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_is_close_and_gives_float32(folders, family, precision):
    exact, half = vlp.load(folders[family]), vlp.load(folders[family], precision=precision)
    for whole, low in (
        (exact.encode_image(pictures()), half.encode_image(pictures())),
        (exact.encode_text(TEXTS), half.encode_text(TEXTS)),
    ):
        assert low.dtype == torch.float32
        assert 0 < (whole - low).abs().max() < 0.1
        assert torch.allclose(low.norm(dim=-1), torch.ones(len(low)))
    with pytest.raises(ValueError, match=r"precision 'int8': choices are fp32, bf16, fp16"):
        vlp.load(folders[family], precision="int8")


def test_a_file_in_half_precision_is_computed_in_float32(folder, edit):
    state = load_file(folder / "model.safetensors")
    half = {name: value.half() for name, value in state.items()}
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    edit("config.json", dtype="float16")
    encoder = vlp.load(folder)
    assert {parameter.dtype for parameter in encoder.model.parameters()} == {torch.float32}
    assert encoder.encode_text(TEXTS).dtype == torch.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_it_says_what_it_is(folders, family):
    encoder = vlp.load(folders[family])
    config = AutoModel.from_pretrained(folders[family]).config
    assert isinstance(encoder, HuggingFaceEncoder)
    assert encoder.description == {
        "model": family,
        "pretrained": str(folders[family]),
        "path": str(folders[family]),
        "sha256": encoder.fingerprint,
        "act": config.text_config.hidden_act,
        "act_known": True,
    }
    squash = family == "siglip"
    protocol = encoder.protocol
    assert len(protocol.pop("tokenizer_sha")) == 64
    assert protocol == {
        "image_size": 24,
        "interp": "bilinear" if squash else "bicubic",
        "resize_mode": "squash" if squash else "shortest",
        "resize": (24, 24) if squash else 24,
        "mean": PICTURES[family]["image_mean"],
        "std": PICTURES[family]["image_std"],
        "lower_case": squash,
        "context_length": encoder.context_length,
        "precision": "fp32",
        "normalize": True,
        "logit_scale": pytest.approx(float(encoder.model.logit_scale.detach().exp())),
    }
    json.dumps(encoder.protocol)
    assert encoder.device == torch.device("cpu")
    copied = pickle.loads(pickle.dumps(encoder.preprocess))  # for the workers of a loader
    assert torch.equal(copied(pictures()[1]), encoder.preprocess(pictures()[1]))


def test_the_fingerprint_is_of_weights_and_configuration(folder, edit):
    before = vlp.load(folder).fingerprint
    assert vlp.load(folder).fingerprint == before
    edit("config.json", text_config={"hidden_act": "gelu"})
    activation = vlp.load(folder)
    assert activation.fingerprint != before
    assert activation.description["act"] == "image quick_gelu, text gelu"
    state = load_file(folder / "model.safetensors")
    state["logit_scale"] += 1
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert vlp.load(folder).fingerprint not in (before, activation.fingerprint)


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_of_another_size_are_said_and_positions_interpolated(
    folders, family, tmp_path, caplog
):
    larger = shutil.copytree(folders[family], tmp_path / family)
    size = {"height": 32, "width": 32}
    changed = {"size": size} if family == "siglip" else {"size": 40, "crop_size": size}
    (larger / "preprocessor_config.json").write_text(json.dumps(PICTURES[family] | changed))
    encoder = vlp.load(larger)
    assert "pictures of (32, 32) pixels, but config.json says image_size (24, 24)" in caplog.text
    _, expected = pipeline_images(larger, use_fast=False, interpolate_pos_encoding=True)
    assert (encoder.encode_image(pictures()) - expected).abs().max() <= 1e-5
    assert encoder.protocol["image_size"] == 32


def test_a_folder_without_surprises_warns_of_nothing(folders, caplog):
    for family in FAMILIES:
        vlp.load(folders[family])
    assert [r.message for r in caplog.records if r.name.startswith("vlp")] == []


@pytest.mark.parametrize("kind", ["siglip2", "chinese_clip", "align", "blip", None])
def test_other_models_are_refused_by_name(folder, edit, kind):
    edit("config.json", model_type=kind)
    message = rf"config.json: model_type {kind!r}: choices are clip and siglip .*NaFlex"
    with pytest.raises(ValueError, match=message):
        vlp.load(folder)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["config.json"], r"no model folder .*and no Hugging Face folder \(config.json\)"),
        (["model.safetensors"], r"lacks model.safetensors, model.safetensors.index.json or"),
        (["preprocessor_config.json"], r"lacks preprocessor_config.json or processor_config.json"),
        (["vocab.json", "merges.txt"], r"lacks the files of a tokenizer: tokenizer.json, vocab"),
    ],
)
def test_missing_files_are_named(folder, names, message):
    for name in names:
        (folder / name).unlink()
    with pytest.raises(InputError, match=message):
        vlp.load(folder)


def test_weights_that_are_missing_are_never_drawn_at_random(folder, caplog):
    state = load_file(folder / "model.safetensors")
    save_file({**state, "extra": torch.ones(2)}, folder / "model.safetensors", {"format": "pt"})
    vlp.load(folder)
    assert "1 tensors unused: extra" in caplog.text
    del state["visual_projection.weight"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"its weights lack visual_projection.weight"):
        vlp.load(folder)
    state["visual_projection.weight"] = torch.zeros(3, 3)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"cannot be loaded"):
        vlp.load(folder)
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match=r"model.safetensors cannot be read"):
        vlp.load(folder)


def test_a_tokenizer_of_a_larger_vocabulary_is_refused(folder):
    path = folder / "vocab.json"
    vocab = json.loads(path.read_text())
    size = len(vocab)
    vocab["<|startoftext|>"], vocab["<|endoftext|>"] = size, size + 1
    vocab |= {"more": size - 2, "pieces": size - 1}
    path.write_text(json.dumps(vocab))
    message = rf"vocab_size {size}, but its tokenizer ends a text with {size + 1}"
    with pytest.raises(ValueError, match=message):
        vlp.load(folder)


def test_an_end_token_that_the_tower_does_not_pool_is_refused(folder, edit):
    edit("config.json", text_config={"eos_token_id": 5})
    with pytest.raises(ValueError, match=r"text_config.eos_token_id 5, but its tokenizer ends"):
        vlp.load(folder)


@pytest.mark.skipif(bool(find_spec("sentencepiece")), reason="sentencepiece is installed")
def test_a_package_that_the_tokenizer_needs_is_named(folders, tmp_path):
    first = shutil.copytree(folders["siglip"], tmp_path / "first")  # of SigLIP 1
    path = first / "tokenizer_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "SiglipTokenizer"})
    )
    with pytest.raises(ValueError, match=r"SiglipTokenizer requires the SentencePiece library"):
        vlp.load(first)


def test_a_tokenizer_that_ends_no_text_is_refused(folders, tmp_path):
    endless = shutil.copytree(folders["siglip"], tmp_path / "endless")
    path = endless / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": None}))
    with pytest.raises(ValueError, match=r"does not end a text with its end token"):
        vlp.load(endless)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"do_resize": False}, r"do_resize must be True, is False"),
        ({"do_normalize": False}, r"do_normalize must be True"),
        ({"rescale_factor": 1.0}, r"rescale_factor must be 1/255, is 1.0"),
        ({"do_center_crop": False}, r"with size shortest_edge, do_center_crop must be True"),
        ({"size": {"shortest_edge": 24, "longest_edge": 30}}, r"choices are shortest_edge, or"),
        ({"image_processor_type": "ConvNextImageProcessor"}, r"image processor ConvNext.*choices"),
    ],
)
def test_preprocessing_that_is_not_done_here_is_refused(folder, edit, entries, message):
    edit("preprocessor_config.json", **entries)
    with pytest.raises(ValueError, match=rf"preprocessor_config.json: .*{message}"):
        vlp.load(folder)


def test_open_clips_model_goes_before_the_one_beside_it(folder):
    assert is_huggingface(folder)
    (folder / "open_clip_config.json").write_text("{}")
    assert is_huggingface(folder)  # its weights are not there
    (folder / "open_clip_model.safetensors").write_bytes(b"")
    assert not is_huggingface(folder)
    assert not is_huggingface(folder.parent)
