"""Files of weights alone: read as open_clip reads them, and never by running what they hold."""

import argparse
import json
import zipfile
from collections import OrderedDict

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file

import vlp
from tests.conftest import TINY
from vlp.errors import InputError

NAME = "ViT-T-8-test"
TEXTS = ["two dogs run", "a much longer caption of a red circle", "x"]


@pytest.fixture(scope="module")
def clip():
    """A tiny model, under a name that is open_clip's for as long as these tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(open_clip.factory._MODEL_CONFIGS, NAME, TINY)
        torch.manual_seed(0)
        yield open_clip.create_model(NAME).eval()


@pytest.fixture(scope="module")
def pictures():
    noise = Image.effect_noise((90, 60), 80).convert("RGB")
    return [noise, noise.resize((40, 200)), Image.new("RGB", (16, 16), "red")]


@pytest.fixture(scope="module")
def expected(clip, pictures):
    """Features as open_clip makes them, with its own preprocessing and tokenizer."""
    prepare = image_transform_v2(PreprocessCfg(**clip.visual.preprocess_cfg), is_train=False)
    with torch.no_grad():
        image = clip.encode_image(torch.stack([prepare(picture) for picture in pictures]))
        text = clip.encode_text(open_clip.get_tokenizer(NAME)(TEXTS))
    return F.normalize(image, dim=-1), F.normalize(text, dim=-1)


@pytest.fixture(scope="module")
def file(clip, tmp_path_factory):
    return write("plain", clip.state_dict(), tmp_path_factory.mktemp("file"))


def wrapped(state, prefix):
    return {prefix + name: value for name, value in state.items()}


def write(form, state, folder):
    """A file as one of those write it who train with open_clip."""
    path = folder / f"weights.{'safetensors' if form == 'safetensors' else 'pt'}"
    contents = {
        "plain": lambda: state,
        "ordered": lambda: OrderedDict(state),
        "trainer": lambda: {
            "epoch": 3,
            "name": "run",
            "state_dict": wrapped(state, "module."),
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []},
        },
        "compiled": lambda: {"state_dict": wrapped(state, "module._orig_mod.")},
        "lightning": lambda: {"state_dict": wrapped(state, "model."), "epoch": 1},
        "ema": lambda: {"ema": state, "optimizer": {"state": {}}},
        "openai's names": lambda: state | {"context_length": torch.tensor(16)},
    }
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(contents[form](), path)
    return path


FORMS = ("plain", "ordered", "trainer", "compiled", "lightning", "ema", "openai's names")


@pytest.mark.parametrize("form", [*FORMS, "safetensors"])
def test_features_are_those_of_open_clip(form, clip, pictures, expected, tmp_path, caplog):
    path = write(form, clip.state_dict(), tmp_path)
    encoder = vlp.load(path, "cpu")
    image, text = expected
    assert (encoder.encode_image(pictures) - image).abs().max() <= 1e-5
    assert (encoder.encode_text(TEXTS) - text).abs().max() <= 1e-5
    assert encoder.description["model"] == NAME
    assert encoder.path == str(path)
    assert "does not say how its pictures are prepared" in caplog.text


def test_the_architecture_can_be_named_in_three_ways(file):
    encoder = vlp.load(file, "cpu")
    assert encoder.description["act_known"] is False
    named = vlp.load(file, "cpu", arch=NAME)
    assert named.fingerprint == encoder.fingerprint
    assert named.description["act_known"] is True
    assert vlp.load(f"{NAME}={file}", "cpu").fingerprint == encoder.fingerprint
    assert vlp.load(f"{NAME}/{file}", "cpu").fingerprint == encoder.fingerprint


def test_half_precision_weights_are_computed_with_in_float32(clip, expected, tmp_path):
    state = {name: value.half() for name, value in clip.state_dict().items()}
    encoder = vlp.load(write("plain", state, tmp_path), "cpu")
    assert next(encoder.model.parameters()).dtype == torch.float32
    assert (encoder.encode_text(TEXTS) - expected[1]).abs().max() <= 0.01


def test_weights_of_another_image_size_are_used_at_theirs(clip, tmp_path, pictures):
    larger = open_clip.create_model(NAME, force_image_size=32, force_context_length=20).eval()
    encoder = vlp.load(write("plain", larger.state_dict(), tmp_path), "cpu")
    assert encoder.image_size == (32, 32)
    assert encoder.context_length == 20
    prepare = image_transform_v2(PreprocessCfg(**larger.visual.preprocess_cfg), is_train=False)
    with torch.no_grad():
        image = larger.encode_image(torch.stack([prepare(picture) for picture in pictures]))
        text = larger.encode_text(open_clip.get_tokenizer(NAME)(TEXTS, context_length=20))
    assert (encoder.encode_image(pictures) - F.normalize(image, dim=-1)).abs().max() <= 1e-5
    assert (encoder.encode_text(TEXTS) - F.normalize(text, dim=-1)).abs().max() <= 1e-5


def test_a_bias_makes_the_model_have_one(tmp_path, clip):
    state = clip.state_dict() | {"logit_bias": torch.tensor([-7.0])}
    encoder = vlp.load(write("plain", state, tmp_path), "cpu")
    assert float(encoder.model.bias.detach()) == -7


def test_an_architecture_of_ones_own_is_named_by_its_file(tiny_arch, tmp_path, caplog):
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    content = {"model_cfg": TINY | {"quick_gelu": True}, "preprocess_cfg": preprocess}
    arch = tmp_path / "own=arch.json"
    arch.write_text(json.dumps(content))
    model = open_clip.model.CLIP(**TINY, quick_gelu=True)
    path = write("plain", model.state_dict(), tmp_path)
    encoder = vlp.load(path, "cpu", arch=arch)
    assert encoder.protocol["mean"] == [0.5] * 3
    assert encoder.protocol["resize_mode"] == "squash"
    assert encoder.description["act"] == "quick_gelu"
    assert not [r for r in caplog.records if r.name == "vlp.loading"]
    tokens = open_clip.get_tokenizer("ViT-B-32")(TEXTS, context_length=16)
    with torch.no_grad():
        text = F.normalize(model.eval().encode_text(tokens), dim=-1)
    assert (encoder.encode_text(TEXTS) - text).abs().max() <= 1e-5


def test_the_weights_of_a_folder_mean_the_folder(tmp_path, clip, caplog):
    config = {"model_cfg": open_clip.get_model_config(NAME), "preprocess_cfg": {"mean": [0.1] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    torch.save(clip.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    encoder = vlp.load(tmp_path / "open_clip_pytorch_model.bin", "cpu")
    assert encoder.protocol["mean"] == [0.1] * 3
    assert vlp.load(f"local-dir:{tmp_path}", "cpu").fingerprint == encoder.fingerprint
    state = clip.state_dict()
    del state["visual.proj"]
    torch.save(state, tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(InputError, match=r"does not fit .*: 1 tensors are missing: visual.proj"):
        vlp.load(tmp_path, "cpu")


def test_a_pickle_that_runs_code_is_refused_with_a_way_out(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    for name, extra in (("evil", Evil()), ("args", argparse.Namespace(lr=1))):
        path = tmp_path / f"{name}.pt"
        torch.save({"state_dict": {"logit_scale": torch.zeros(())}, "more": extra}, path)
        with pytest.raises(
            InputError, match=rf"{name}.pt holds more than tensors \(.*save its wei"
        ):
            vlp.load(path, "cpu")
    assert "executed" not in capsys.readouterr().out


def test_several_sets_of_weights_are_not_chosen_from(tmp_path):
    path = tmp_path / "both.pt"
    state = {"logit_scale": torch.zeros(())}
    torch.save({"state_dict": state, "state_dict_ema": state}, path)
    with pytest.raises(InputError, match=r"several sets of weights \(state_dict, state_dict_ema\)"):
        vlp.load(path, "cpu")
    torch.save(wrapped(state, "student.") | wrapped(state, "teacher."), path)
    with pytest.raises(InputError, match=r"several models: student.logit_scale, teacher.logit"):
        vlp.load(path, "cpu")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"layer.weight": torch.zeros(2)}, r"no logit_scale, so it is not of a CLIP; it begins"),
        ([torch.zeros(2)], r"holds a list, not the weights of a model"),
        (torch.zeros(2), r"holds a Tensor, not the weights"),
        (
            {"logit_scale": torch.zeros(()), "text_model.embeddings.weight": torch.zeros(2)},
            r"has the names of Hugging Face's transformers: give the folder",
        ),
        (
            {"logit_scale": torch.zeros(()), "text.transformer.x": torch.zeros(2)},
            r"its text tower is none of open_clip's own.*roberta-ViT-B-32",
        ),
    ],
)
def test_what_is_no_clip_of_open_clips_is_said(tmp_path, content, message):
    path = tmp_path / "odd.pt"
    torch.save(content, path)
    with pytest.raises(InputError, match=message):
        vlp.load(path, "cpu")


@pytest.mark.parametrize("suffix", ["pt", "safetensors", "bin", "txt"])
@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"plain text, no weights", b"PK\3\4torn"])
def test_damaged_files_are_named(tmp_path, suffix, data):
    path = tmp_path / f"torn.{suffix}"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"torn.{suffix} cannot be read as"):
        vlp.load(path, "cpu")


def test_a_zip_of_something_else_is_named(tmp_path):
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(InputError, match=r"pictures.zip cannot be read as a checkpoint"):
        vlp.load(path, "cpu")


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("", {}, "the name of a model is empty"),
        ("/nowhere/x.pt", {}, "there is no file and no folder /nowhere/x.pt"),
        ("ViT-B-33/openai", {}, r"'ViT-B-33' is no open_clip model; near it are ViT-B-32"),
        ("ViT-B-32", {}, r"lacks a pretrained tag, NAME/TAG; tags of ViT-B-32: openai, laion"),
        ("ViT-B-32/openia", {}, r"'openia' is no file.*its tags: .*openai"),
        ("ViT-B-32=nowhere.pt", {}, "there is no file nowhere.pt"),
        ("ViT-B-32/openai", {"arch": "ViT-B-32"}, "is for a file of weights, which ViT-B-32/op"),
        ("FOLDER", {"arch": "ViT-B-32"}, "is for a file of weights, which .* is not"),
        ("FILE", {"arch": "ViT-B-33"}, r"arch: 'ViT-B-33' is no open_clip model and no .json"),
        ("FILE", {"arch": "none.json"}, "arch: there is no file none.json"),
        ("FILE", {"arch": "RN50"}, r"weights.pt does not fit RN50: \d+ tensors are missing"),
        ("FILE", {"precision": "int8"}, "precision 'int8': choices are fp32, bf16, fp16"),
        ("FILE", {"device": "tpu"}, "device 'tpu': choices are cpu"),
        ("FILE", {"device": "cuda:99"}, "device 'cuda:99': choices are cpu"),
    ],
)
def test_misuses_are_answered_in_a_line(file, source, options, message):
    source = source.replace("FILE", str(file)).replace("FOLDER", str(file.parent))
    with pytest.raises(InputError, match=message) as caught:
        vlp.load(source, **{"device": "cpu"} | options)
    assert "\n" not in str(caught.value)


def test_a_folder_with_files_of_weights_says_to_give_one(tmp_path):
    (tmp_path / "epoch_1.pt").touch()
    with pytest.raises(InputError, match=r"it has weights: give the path of one, e.g. epoch_1.pt"):
        vlp.load(tmp_path, "cpu")
