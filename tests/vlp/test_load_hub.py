"""`hf-hub:`: repositories in the Hub's cache, and a Hub that answers as it does or not at all."""

import json
import shutil
from pathlib import Path

import httpx
import pytest
import torch
from safetensors.torch import load_file

import vlp
from tests.vlp.huggingface_folders import build_folder
from vlp.checkpoint import publish
from vlp.errors import InputError
from vlp.interop import hub
from vlp.model import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The Hub's cache, and a function that puts a folder into it as a repository."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def put(folder, repository, revision="main"):
        root = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        (root / "refs").mkdir(parents=True, exist_ok=True)
        (root / "refs" / revision).write_text(COMMIT)
        shutil.copytree(folder, root / "snapshots" / COMMIT)

    return put


@pytest.fixture
def ours(tmp_path, tiny_arch):
    folder = tmp_path / "model"
    folder.mkdir()
    model = build_model(ModelConfig(arch=tiny_arch))
    facts = {"weights": "last", "samples_seen": 5, "step": 1, "recipe": {}}
    tokenizer = build_tokenizer(model.description.model_cfg)
    publish(folder, model.clip.state_dict(), model.description, tokenizer, facts)
    return folder


def test_a_cached_repository_is_its_folder(cache, ours, tmp_path):
    cache(ours, "org/model")
    encoder = vlp.load("hf-hub:org/model", "cpu")
    assert encoder.fingerprint == vlp.load(ours, "cpu").fingerprint
    cache(build_folder(tmp_path / "siglip", "siglip"), "org/siglip", "v1.0")
    theirs = vlp.load("hf-hub:org/siglip@v1.0", "cpu")
    assert torch.equal(theirs.encode_text("a"), vlp.load(tmp_path / "siglip").encode_text("a"))


def test_a_repository_with_pickles_alone_is_read_as_a_folder_is(cache, ours, tmp_path):
    expected = vlp.load(ours, "cpu").fingerprint
    weights = ours / "open_clip_model.safetensors"
    torch.save(load_file(weights), ours / "open_clip_pytorch_model.bin")
    weights.unlink()
    cache(ours, "org/pickled")
    assert vlp.load("hf-hub:org/pickled", "cpu").fingerprint == expected
    (ours / "open_clip_pytorch_model.bin").unlink()
    cache(ours, "org/empty")
    with pytest.raises(InputError, match=r"hf-hub:org/empty has no weights: neither .* no open_c"):
        vlp.load("hf-hub:org/empty", "cpu")


@pytest.mark.parametrize("source", ["hf-hub:org/none", "hf-hub:org/model@other"])
def test_without_a_network_what_is_not_cached_is_named(cache, ours, source):
    cache(ours, "org/model")
    with pytest.raises(InputError, match=rf"{source} is not in the Hub's cache.*HF_HUB_OFFLINE"):
        vlp.load(source, "cpu")


@pytest.mark.parametrize("name", ["", "a b/c", "a/b/c/d", "org/--model"])
def test_what_is_no_name_of_a_repository_is_refused(cache, name):
    with pytest.raises(InputError, match=r"expected hf-hub:ORG/NAME or hf-hub:ORG/NAME@REVISION"):
        vlp.load(f"hf-hub:{name}", "cpu")


def test_an_architecture_is_not_for_repositories(cache):
    with pytest.raises(InputError, match=r"is for a file of weights, which hf-hub:org/model is"):
        vlp.load("hf-hub:org/model", "cpu", arch="ViT-B-32")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("RepositoryNotFoundError", "no such repository, or it is private: log in"),
        ("GatedRepoError", "is gated: ask for access on its page"),
        ("RevisionNotFoundError", "the repository has no revision 'x'"),
    ],
)
def test_what_the_hub_answers_is_said_in_a_line(monkeypatch, error, message):
    response = httpx.Response(404, request=httpx.Request("GET", "https://huggingface.co"))

    def answer(*_, **__):
        raise getattr(hub, error)("Client error\nRequest ID: 1", response=response)

    monkeypatch.setattr(hub, "snapshot_download", answer)
    with pytest.raises(InputError, match=rf"hf-hub:org/model@x.*{message}") as caught:
        vlp.load("hf-hub:org/model@x", "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["open_clip_config.json", "open_clip_model.safetensors"], {"open_clip_model.safetensors"}),
        (["config.json", "model.safetensors"], {"model.safetensors"}),
        (
            ["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"],
            {"model-00001-of-00002.safetensors"},
        ),
        (
            [
                *("open_clip_config.json", "open_clip_model.safetensors", "vlp.json"),
                *("config.json", "model.safetensors", "vlp_captioner.safetensors"),
            ],
            {"open_clip_model.safetensors", "vlp_captioner.safetensors"},
        ),
        (["config.json"], {"pytorch_model.bin"}),
        (["open_clip_config.json"], {"open_clip_pytorch_model.bin"}),
    ],
)
def test_only_what_is_used_is_downloaded(monkeypatch, tmp_path, there, taken):
    """By the Hub's own patterns: one kind of weights, a pickle where there is no other, no code."""
    from huggingface_hub.utils import filter_repo_objects

    more = ["pytorch_model.bin", "open_clip_pytorch_model.bin", "modeling.py", "tf_model.h5"]
    more += ["tokenizer.json", "merges.txt", "spiece.model", "onnx/model.onnx", "flax.msgpack"]

    def snapshot(repository, revision, allow_patterns):
        for name in filter_repo_objects([*there, *more], allow_patterns=allow_patterns):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(json.dumps({}))
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    assert hub.download("hf-hub:org/model") == tmp_path
    found = {str(path.relative_to(tmp_path)) for path in Path(tmp_path).rglob("*.*")}
    assert {name for name in found if name.endswith((".safetensors", ".bin"))} == taken
    assert found - taken == {n for n in there if n.endswith(".json")} | {
        *("tokenizer.json", "merges.txt", "spiece.model")
    }
