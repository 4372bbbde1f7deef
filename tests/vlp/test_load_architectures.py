"""The architecture of bare weights: from shapes, from OpenAI's marks, from the record of a run."""

import logging
from pathlib import Path

import open_clip
import pytest
import torch

from vlp.errors import InputError
from vlp.interop.architectures import inferred, recorded, stated
from vlp.interop.open_clip_runs import recorded_run
from vlp.interop.state_dicts import StateDict
from vlp.model.build import ModelConfig, instantiate


def weights(name, openai=False, custom=False, **changes):
    """The names and shapes of an architecture's tensors, without memory."""
    config = open_clip.get_model_config(name)
    for key, value in changes.items():
        config["text_cfg" if key == "context_length" else "vision_cfg"][key] = value
    config["custom_text"] = custom or config.get("custom_text", False)
    with torch.device("meta"):
        clip, _, _ = instantiate(config, {}, ModelConfig(), device="meta")
    return StateDict(Path("file.pt"), dict(clip.state_dict()), openai)


@pytest.mark.parametrize(
    "name",
    [
        "ViT-B-16-plus-240",
        "ViT-S-16",
        "ViT-L-14-CLIPA-336",
        "ViT-SO400M-14-SigLIP",
        "coca_ViT-B-32",
        "convnext_tiny",
        "swin_base_patch4_window7_224",
    ],
)
def test_shapes_tell_the_architecture(name):
    found = inferred(weights(name))
    assert found.name == name
    assert found.model_cfg == open_clip.get_model_config(name)


@pytest.mark.parametrize("name", ["ViT-B-32", "RN50x4"])
@pytest.mark.parametrize("ending", ["", "-quickgelu"])
def test_the_activation_does_not_show_in_shapes(name, ending):
    message = rf"fits {name} and {name}-quickgelu.*every feature is wrong.*arch='{name}'"
    with pytest.raises(InputError, match=message):
        inferred(weights(name + ending))
    assert inferred(weights(name + ending, openai=True)).name == f"{name}-quickgelu"


@pytest.mark.parametrize(
    "names", [("convnext_base_w", "convnext_base_w_320"), ("ViT-B-16", "ViT-B-16-quickgelu")]
)
def test_architectures_of_the_same_shapes_are_listed(names):
    with pytest.raises(InputError, match=f"file.pt fits {' and '.join(names)}, whose"):
        inferred(weights(names[0], custom=names[0] == "ViT-B-16"))


def test_other_image_sizes_and_contexts_are_found_too():
    found = inferred(weights("ViT-M-16-alt", image_size=320, context_length=248))
    assert found.name == "ViT-M-16-alt"
    assert found.model_cfg["vision_cfg"]["image_size"] == 320
    assert found.model_cfg["text_cfg"]["context_length"] == 248
    apart = inferred(weights("ViT-M-16-alt", custom=True))
    assert apart.model_cfg["custom_text"] is True


def test_where_nothing_fits_sizes_and_the_nearest_are_named():
    with pytest.raises(InputError) as caught:
        inferred(weights("ViT-B-32", width=1024))
    message = str(caught.value)
    assert "image tower vit (width 1024, layers 12, patch_size 32)" in message
    assert "text tower (width 512, layers 12, vocab_size 49408, context_length 77)" in message
    assert "say it with arch=" in message
    more = weights("ViT-S-32-alt")
    more.tensors["head.weight"] = torch.zeros(3)
    with pytest.raises(InputError, match=r"nearest is ViT-S-32-alt \(1 more: head.weight\)"):
        inferred(more)
    del more.tensors["head.weight"], more.tensors["visual.proj"]
    with pytest.raises(InputError, match=r"nearest is ViT-S-32-alt \(1 missing: visual.proj\)"):
        inferred(more)


def test_a_named_architecture_keeps_what_weights_do_not_say():
    found = stated(weights("ViT-B-32", image_size=256), "ViT-B-32-quickgelu")
    assert found.model_cfg["quick_gelu"] is True
    assert found.model_cfg["vision_cfg"]["image_size"] == 256


def test_openais_weights_are_not_given_another_activation():
    own = weights("ViT-B-32", openai=True)
    with pytest.raises(InputError, match=r"'ViT-B-32' has GELU, but file.pt is OpenAI's"):
        stated(own, "ViT-B-32")
    assert stated(own, "ViT-B-32-quickgelu").model_cfg["quick_gelu"] is True


def run_of(folder, **options):
    """A checkpoint's path in a run of open_clip's trainer with these options."""
    (folder / "checkpoints").mkdir(exist_ok=True)
    lines = [f"{name}: {value}" for name, value in {"aug_cfg": {}, **options}.items()]
    (folder / "params.txt").write_text("\n".join(lines) + "\n")
    return folder / "checkpoints" / "epoch_3.pt"


def test_a_run_of_the_trainer_settles_what_shapes_leave_open(tmp_path):
    path = run_of(tmp_path, model="ViT-B-32", pretrained="", force_quick_gelu=False)
    run = recorded_run(path)
    found = recorded(weights("ViT-B-32"), run)
    assert (found.name, found.model_cfg.get("quick_gelu")) == ("ViT-B-32", None)
    assert run.preprocess_cfg == {}
    options = {"image_mean": [0.5, 0.4, 0.3], "image_std": None, "image_interpolation": "bilinear"}
    path = run_of(
        tmp_path, model="ViT-B-32", force_quick_gelu=True, force_image_size=[256], **options
    )
    run = recorded_run(path)
    found = recorded(weights("ViT-B-32", image_size=256), run)
    assert found.model_cfg["quick_gelu"] is True
    assert found.model_cfg["vision_cfg"]["image_size"] == 256
    assert run.preprocess_cfg == {"mean": [0.5, 0.4, 0.3], "interpolation": "bilinear"}


def test_a_run_from_a_tag_has_its_preprocessing(tmp_path):
    run = recorded_run(run_of(tmp_path, model="ViT-B-16-SigLIP", pretrained="webli"))
    assert run.preprocess_cfg["resize_mode"] == "squash"
    assert run.preprocess_cfg["mean"] == (0.5, 0.5, 0.5)


def test_a_run_from_openais_weights_leaves_the_activation_open(tmp_path):
    path = run_of(tmp_path, model="ViT-B-32", pretrained="openai")
    with pytest.raises(InputError, match=r"fits ViT-B-32 and ViT-B-32-quickgelu"):
        recorded(weights("ViT-B-32"), recorded_run(path))
    path = run_of(tmp_path, model="ViT-B-32-quickgelu", pretrained="openai")
    assert recorded(weights("ViT-B-32"), recorded_run(path)).name == "ViT-B-32-quickgelu"


def test_no_record_is_no_run(tmp_path):
    assert recorded_run(tmp_path / "epoch_1.pt") is None
    assert recorded_run(run_of(tmp_path, model="of-my-own")) is None
    (tmp_path / "params.txt").write_bytes(b"\xff\xfe no options")
    assert recorded_run(tmp_path / "epoch_1.pt") is None


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.ERROR)
