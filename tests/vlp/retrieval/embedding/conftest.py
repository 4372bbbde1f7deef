"""A tiny model, as an encoder and as a folder."""

import pytest
import torch

import vlp
from vlp.checkpoint import publish
from vlp.model.build import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, tiny_arch):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(3)
    model = build_model(ModelConfig(arch=tiny_arch))
    tokenizer = build_tokenizer(model.description.model_cfg)
    facts = {"weights": "last", "samples_seen": 5, "step": 1, "recipe": {}}
    publish(folder, model.clip.state_dict(), model.description, tokenizer, facts)
    return folder


@pytest.fixture(scope="session")
def encoder(model_folder):
    return vlp.load(model_folder, device="cpu")
