"""What a folder or file does not say about its weights is said aloud when they are loaded."""

import json
import logging

import pytest
import torch
from safetensors.torch import save_file

import vlp
from tests.conftest import TINY
from vlp.checkpoint import publish
from vlp.model import ModelConfig, build_model
from vlp.model.build import says_activation
from vlp.model.tokens import build_tokenizer

UNSAID = "does not say with which activation it was trained; the configuration gives GELU"


@pytest.fixture
def published(tmp_path, tiny_arch):
    """A model folder of ours, with its card."""
    folder = tmp_path / "model"
    folder.mkdir()
    torch.manual_seed(3)
    model = build_model(ModelConfig(arch=tiny_arch))
    tokenizer = build_tokenizer(model.description.model_cfg)
    facts = {"weights": "last", "samples_seen": 5, "step": 1, "recipe": {}}
    publish(folder, model.clip.state_dict(), model.description, tokenizer, facts)
    return folder


@pytest.fixture
def foreign(published):
    """The same in open_clip's format alone."""
    (published / "vlp.json").unlink()
    return published


def edit(folder, part, drop=(), **entries):
    path = folder / "open_clip_config.json"
    content = json.loads(path.read_text())
    kept = {key: value for key, value in content[part].items() if key not in drop}
    path.write_text(json.dumps(content | {part: kept | entries}))


def warnings(caplog):
    own = [record for record in caplog.records if record.name.startswith("vlp")]
    return [record.getMessage() for record in own if record.levelno >= logging.WARNING]


def write_arch(path, preprocess_cfg, **model_cfg):
    path.write_text(json.dumps({"model_cfg": TINY | model_cfg, "preprocess_cfg": preprocess_cfg}))
    return str(path)


def test_a_model_of_ours_says_everything(published, caplog):
    encoder = vlp.load(published)
    assert encoder.description["act_known"] is True
    assert warnings(caplog) == []


def test_a_folder_that_is_silent_on_its_activation_is_named_once(foreign, caplog):
    encoder = vlp.load(foreign)
    assert encoder.description["act"] == "gelu"
    assert encoder.description["act_known"] is False
    (message,) = warnings(caplog)
    assert message.startswith(f"{foreign} {UNSAID}")
    assert message.endswith("it needs quick_gelu: true")


@pytest.mark.parametrize("quick", [True, False])
def test_a_configuration_that_says_its_activation_is_believed(foreign, caplog, quick):
    edit(foreign, "model_cfg", quick_gelu=quick)
    description = vlp.load(foreign).description
    assert description["act"] == ("quick_gelu" if quick else "gelu")
    assert description["act_known"] is True
    assert warnings(caplog) == []


def test_weights_from_a_file_have_no_known_activation(foreign, tiny_arch, tmp_path, caplog):
    path = tmp_path / "tuned.safetensors"
    save_file(build_model(ModelConfig(arch=tiny_arch)).clip.state_dict(), path)
    build_model(ModelConfig(arch=tiny_arch, weights=str(path)))
    (message,) = warnings(caplog)
    assert message.startswith(f"{path} {UNSAID}")
    caplog.clear()
    stated = write_arch(tmp_path / "quick.json", {}, quick_gelu=True)
    build_model(ModelConfig(arch=stated, weights=str(path)))
    assert warnings(caplog) == []


def test_fresh_weights_and_mistyped_names_are_no_matter_of_activation(tiny_arch, caplog):
    build_model(ModelConfig(arch=tiny_arch))
    with pytest.raises(ValueError, match="no pretrained tag"):
        build_model(ModelConfig(arch=tiny_arch, weights="openia"))
    assert warnings(caplog) == []


def test_an_activation_that_contradicts_the_folders_configuration_is_refused(foreign, tiny_arch):
    edit(foreign, "model_cfg", quick_gelu=True)
    with pytest.raises(ValueError, match=r"was trained with quick_gelu, but model.arch has gelu"):
        build_model(ModelConfig(arch=tiny_arch, weights=str(foreign)))


@pytest.mark.parametrize(
    ("vision", "text", "more", "said"),
    [
        ({}, {}, {}, False),
        ({}, {}, {"quick_gelu": False}, True),
        ({"timm_model_name": "vit_base_patch16_siglip_224"}, {}, {}, True),
        ({}, {"hf_model_name": "roberta-base"}, {}, True),
    ],
)
def test_only_open_clips_own_towers_leave_it_open(vision, text, more, said):
    assert says_activation({"vision_cfg": vision, "text_cfg": text, **more}) is said


@pytest.mark.parametrize(
    ("drop", "named"), [(("mean", "std"), "mean and no std"), (["std"], "std")]
)
def test_assumed_means_and_deviations_are_named(published, caplog, drop, named):
    edit(published, "preprocess_cfg", drop=drop)
    encoder = vlp.load(published)
    (message,) = warnings(caplog)
    assert message.startswith(
        f"{published}: its preprocess_cfg has no {named}: open_clip's default"
    )
    assert f"std {encoder.protocol['std']}" in message
    assert ("mean [" in message) == ("mean" in drop)
    assert encoder.protocol["std"] == pytest.approx([0.26862954, 0.26130258, 0.27577711])


def test_a_folder_without_any_preprocessing_is_named(published, caplog):
    path = published / "open_clip_config.json"
    path.write_text(json.dumps({"model_cfg": json.loads(path.read_text())["model_cfg"]}))
    vlp.load(published)
    assert "no mean and no std: open_clip's defaults are assumed: mean [0.48" in caplog.text


def test_pictures_that_architecture_and_weights_disagree_on_are_named(published, tmp_path, caplog):
    half = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    arch = write_arch(tmp_path / "half.json", half)
    model = build_model(ModelConfig(arch=arch, weights=str(published)))
    assert sorted(warnings(caplog))[0].startswith(
        f"model.arch {arch} has mean [0.5, 0.5, 0.5], but model.weights {published} has [0.48"
    )
    assert len(warnings(caplog)) == 3
    assert model.description.preprocess_cfg["resize_mode"] == "shortest"  # that of the weights
    caplog.clear()
    theirs = json.loads((published / "open_clip_config.json").read_text())["preprocess_cfg"]
    same = write_arch(tmp_path / "same.json", theirs)
    build_model(ModelConfig(arch=same, weights=str(published)))
    assert warnings(caplog) == []


def test_an_architecture_may_say_what_the_weights_do_not(published, tmp_path, caplog):
    edit(published, "preprocess_cfg", drop=("mean", "std"))
    half = {"mean": [0.5] * 3, "std": [0.5] * 3}
    arch = write_arch(tmp_path / "half.json", half)
    model = build_model(ModelConfig(arch=arch, weights=str(published)))
    assert list(model.description.preprocess_cfg["mean"]) == [0.5] * 3
    assert warnings(caplog) == []
