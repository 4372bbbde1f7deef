"""Weights from elsewhere: resized, and everything that does not fit named."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import vlp
from vlp.checkpoint import publish
from vlp.errors import InputError
from vlp.model import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer
from vlp.published import WEIGHTS_FILE


@pytest.fixture
def published(tmp_path, tiny_arch):
    folder = tmp_path / "model"
    folder.mkdir()
    torch.manual_seed(3)
    model = build_model(ModelConfig(arch=tiny_arch))
    tokenizer = build_tokenizer(model.description.model_cfg)
    facts = {"weights": "last", "samples_seen": 5, "step": 1, "recipe": {}}
    publish(folder, model.clip.state_dict(), model.description, tokenizer, facts)
    return folder


def test_weights_load_from_a_folder_and_from_a_file(published, tiny_arch):
    expected = load_file(published / WEIGHTS_FILE)
    for weights in (published, published / WEIGHTS_FILE):
        model = build_model(ModelConfig(arch=tiny_arch, weights=str(weights)))
        for name, value in model.clip.state_dict().items():
            assert torch.equal(value, expected[name]), name


def test_position_embeddings_are_resized(published, tiny_arch, caplog):
    config = ModelConfig(arch=tiny_arch, weights=str(published), image_size=32, context_length=24)
    with caplog.at_level("INFO"):
        model = build_model(config)
    assert model.clip.visual.positional_embedding.shape[0] == 1 + 16
    assert model.clip.positional_embedding.shape[0] == 24
    assert "fresh" not in caplog.text
    before = load_file(published / WEIGHTS_FILE)["visual.positional_embedding"]
    after = model.clip.visual.positional_embedding.detach()
    assert torch.equal(before[0], after[0])  # the class token keeps its own
    assert torch.allclose(before[1:].mean(0), after[1:].mean(0), atol=0.05)


def test_missing_unused_and_misshapen_tensors_are_named(published, tiny_arch, tmp_path, caplog):
    state = load_file(published / WEIGHTS_FILE)
    state["stranger"] = torch.zeros(2)
    del state["ln_final.bias"]
    state["ln_final.weight"] = torch.zeros(3)
    path = tmp_path / "odd.safetensors"
    save_file(state, path)
    build_model(ModelConfig(arch=tiny_arch, weights=str(path)))
    assert "1 tensors missing, left at their fresh values: ln_final.bias" in caplog.text
    assert "1 tensors unused: stranger" in caplog.text
    assert "of another shape, left at their fresh values: ln_final.weight" in caplog.text


def test_nothing_that_fits_is_an_error(tiny_arch, tmp_path):
    path = tmp_path / "odd.safetensors"
    save_file({"stranger": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"no tensor of .*odd.safetensors fits"):
        build_model(ModelConfig(arch=tiny_arch, weights=str(path)))


def test_a_pickle_that_runs_code_is_refused(tiny_arch, tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    path = tmp_path / "evil.pt"
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(ValueError, match=r"evil.pt cannot be read"):
        build_model(ModelConfig(arch=tiny_arch, weights=str(path)))


def test_a_pretrained_tag_brings_its_activation(monkeypatch):
    # the weights themselves cannot be had without a network; only their loading is left out
    monkeypatch.setattr("vlp.model.build.load_weights", lambda *_, strict: None)
    assert build_model(ModelConfig(arch="RN50", weights="openai")).description.act == "quick_gelu"
    plain = ModelConfig(arch="ViT-B-32", weights="datacomp_s_s13m_b4k")
    assert build_model(plain).description.act == "gelu"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"arch": "ViT-B-33"}, r"'ViT-B-33' is no open_clip model and no .json file; .*ViT-B-32"),
        ({"arch": "none.json"}, r"there is no file none.json"),
        ({"arch": "ViT-B-32", "weights": "openia"}, r"'openia' is no file.*its tags: .*openai"),
    ],
)
def test_what_does_not_exist_is_answered_with_the_choices(config, message):
    with pytest.raises(ValueError, match=message):
        build_model(ModelConfig(**config))


def test_load_returns_unit_vectors(published):
    from PIL import Image

    encoder = vlp.load(published)
    image = encoder.encode_image([Image.new("RGB", (30, 20), "red"), Image.new("RGB", (9, 40))])
    text = encoder.encode_text(["a dog", "a much longer caption of a dog", "x"])
    assert image.shape == (2, 16)
    assert text.shape == (3, 16)
    assert torch.allclose(torch.cat([image, text]).norm(dim=-1), torch.ones(5))
    assert encoder.scale == pytest.approx(1 / 0.07, rel=1e-4)
    assert len(encoder.fingerprint) == 64
    assert encoder.encode_text("a dog").shape == (16,)


def test_files_that_do_not_belong_together_are_refused(published):
    state = load_file(published / WEIGHTS_FILE)
    state["ln_final.bias"] += 1
    save_file(state, published / WEIGHTS_FILE)
    with pytest.raises(ValueError, match="they do not belong together"):
        vlp.load(published)


def test_an_activation_other_than_the_trained_one_is_refused(published):
    path = published / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["quick_gelu"] = True
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"was trained with gelu, but model.arch has quick_gelu"):
        vlp.load(published)


def test_a_folder_without_a_model_says_where_it_looked(tmp_path):
    with pytest.raises(InputError, match=r"no run with a complete checkpoint"):
        vlp.load(tmp_path)
