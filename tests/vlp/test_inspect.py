"""`vlp inspect`: what is printed is what the files say."""

import json
import logging
import sys
from importlib.metadata import version

import open_clip
import pytest
import torch
from safetensors.torch import load_file

import vlp
from tests.conftest import TINY
from tests.vlp.huggingface_folders import build_folder
from vlp.__main__ import main
from vlp.checkpoint import publish, published_state
from vlp.model import ModelConfig, build_model
from vlp.model.captioner import CaptionerConfig
from vlp.model.tokens import build_tokenizer

RECIPE = {
    "samples": 1000,
    "batch": 50,
    "precision": "bf16",
    "seed": 3,
    "optim": {"lr": 0.001, "weight_decay": 0.5},
    "objectives": {
        "contrastive": {
            "class_path": "vlp.objectives.InfoNCE",
            "init_args": {"weight": 1.0, "label_smoothing": 0.1, "hard_captions": False},
        }
    },
    "data": {"sources": {"flickr": {"shards": "/data/flickr\x1b[2J"}}},
    "model": {"weights": "openai"},
}


def publish_tiny(folder, arch, recipe=None, **options):
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    model = build_model(ModelConfig(arch=arch, **options))
    facts = {"weights": "ema", "samples_seen": 500, "step": 10, "recipe": recipe or {}}
    tokenizer = build_tokenizer(model.description.model_cfg)
    publish(folder, published_state(model), model.description, tokenizer, facts)
    return folder


@pytest.fixture
def run_folder(tmp_path, tiny_arch):
    """A run with one checkpoint, results of it and of another."""
    run = tmp_path / "run"
    step = run / "checkpoints" / "step-000000010"
    model = publish_tiny(step / "model", tiny_arch, RECIPE, init_logit_bias=-10.0)
    (step / "complete.json").write_text("{}")
    fingerprint = json.loads((model / "vlp.json").read_text())["fingerprint"]
    (run / "eval" / "retrieval").mkdir(parents=True)
    results = [
        {
            "dataset": "flickr",
            "split": split,
            "task": "retrieval",
            "main": "recall@5",
            "metrics": {"recall@1": 0.25, "recall@5": 0.5, "rank": None, "a": 1, "b": 2, "c": 3},
            "checkpoint": {"sha256": sha},
        }
        for split, sha in (("test", fingerprint), ("other", "0" * 64))
    ]
    lines = "\n".join(json.dumps(result) for result in results)
    (run / "eval" / "retrieval" / "results.jsonl").write_text(lines)
    return run


@pytest.fixture
def inspect(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["vlp", "inspect", *map(str, arguments)])
        status = main()
        out, err = capsys.readouterr()
        return status, out, err

    return run


def facts(text):
    return {line[:14].strip(): line[14:] for line in text.splitlines()}


def test_a_run_is_described_by_its_newest_checkpoint(inspect, run_folder, tiny_arch):
    status, out, _ = inspect(run_folder)
    found = facts(out)
    state = load_file(run_folder / "checkpoints/step-000000010/model/open_clip_model.safetensors")
    image = sum(v.numel() for name, v in state.items() if name.startswith("visual."))
    total = sum(value.numel() for value in state.values())
    assert status == 0
    assert found["checkpoint"] == str(run_folder)
    assert found["kind"] == "checkpoint of a run"
    assert found["path"].endswith("step-000000010/model")
    assert found["architecture"] == tiny_arch
    assert found["parameters"] == f"{total:,}"
    expected = f"ViT, patch 8, width 16, layers 1, heads 2: {image:,} parameters"
    assert found["image tower"] == expected
    expected = f"width 16, layers 1, heads 2, vocabulary 49,408: {total - image - 2:,} parameters"
    assert found["text tower"].endswith(expected)
    assert found["features"] == "16"
    assert found["context"] == "16 tokens, SimpleTokenizer"
    assert found["pictures"].startswith("16 x 16, bicubic, resize mode shortest, mean 0.4815 0.457")
    assert found["activation"] == "gelu"
    assert found["temperature"] == "0.07 (scale 14.29, bias -10)"
    assert found["stored as"] == "float32"
    assert found["fingerprint"] == vlp.load(run_folder).fingerprint
    assert found["trained"] == "500 samples of 1,000 in 10 steps, batch 50, averaged (ema)"
    assert found["objective"] == "contrastive: InfoNCE, label_smoothing 0.1, weight 1.0"
    assert found["data"] == "flickr: /data/flickr\\x1b[2J"
    assert found["recipe"] == "lr 0.001, weight_decay 0.5, precision bf16, seed 3"
    assert found["started from"] == "openai"
    expected = "flickr test retrieval: recall@5 0.5, recall@1 0.25, a 1, b 2, 1 more"
    assert found["results"] == expected
    assert "other" not in out
    assert f"torch {version('torch')}" in found["trained with"]


def test_as_json_nothing_is_left_out(inspect, run_folder):
    _, out, err = inspect(run_folder, "--format", "json")
    found = json.loads(out)
    assert found["training"]["recipe"] == RECIPE
    assert found["results"][0]["metrics"]["c"] == 3
    assert found["bias"] == -10
    assert found["parameters"]["total"] == sum(found["stored_as"].values())
    assert err == ""


def test_a_captioner_has_its_own_count(inspect, tmp_path, tiny_arch):
    head = CaptionerConfig(layers=1, heads=2)
    folder = publish_tiny(tmp_path / "model", tiny_arch, captioner=head)
    _, out, _ = inspect(folder)
    weights = load_file(folder / "vlp_captioner.safetensors")
    assert facts(out)["captioner"] == f"{sum(v.numel() for v in weights.values()):,} parameters"
    assert facts(out)["kind"] == "model folder of vlp"
    assert facts(out)["results"] == "none with it"


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_hugging_face_folders(inspect, tmp_path, family):
    folder = build_folder(tmp_path / family, family)
    _, out, _ = inspect(folder)
    found = facts(out)
    total = sum(value.numel() for value in load_file(folder / "model.safetensors").values())
    assert found["kind"] == f"Hugging Face folder ({family})"
    assert found["parameters"] == f"{total:,}"
    parts = [int(found[f"{name} tower"].split()[-2].replace(",", "")) for name in ("image", "text")]
    assert sum(parts) == total - (1 if family == "clip" else 2)
    assert found["image tower"].startswith("ViT, patch 8, width 32, layers 2, heads 2: ")
    assert found["pictures"].startswith("24 x 24, bi")
    assert ("bias" in found["temperature"]) == (family == "siglip")
    assert "trained" not in found


def test_a_file_of_weights_says_what_is_assumed(inspect, tmp_path):
    model = open_clip.model.CLIP(**TINY).half()
    path = tmp_path / "model.pt"
    torch.save({"state_dict": model.state_dict()}, path)
    arch = tmp_path / "arch.json"
    arch.write_text(json.dumps(TINY))
    status, out, _ = inspect(path, "--arch", arch)
    found = facts(out)
    assert status == 0
    assert found["kind"] == "file of weights"
    assert found["stored as"] == "float16"
    assert "read with" in found


def test_warnings_are_printed_as_errors_are(inspect, tmp_path, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of pytest
    path = tmp_path / "model\x1b.pt"
    torch.save(open_clip.model.CLIP(**TINY).state_dict(), path)
    arch = tmp_path / "arch.json"
    arch.write_text(json.dumps(TINY))
    _, _, err = inspect(path, "--arch", arch)
    (line,) = err.splitlines()
    assert line.startswith("warning: ")
    assert "model\\x1b.pt does not say how its pictures are prepared" in line


@pytest.mark.parametrize("arguments", [["/nowhere"], [""], [__file__], ["hf-hub:"], ["ViT-B-32"]])
def test_a_wrong_checkpoint_is_an_error_of_one_line(inspect, arguments):
    status, out, err = inspect(*arguments)
    assert status == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
