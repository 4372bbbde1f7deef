"""Tiny models, a folder of pictures, its index, and the command line."""

import sys

import pytest
import torch

import vlp as library
from tests.vlp.retrieval.indexed_folders import draw
from vlp import __main__ as command_line
from vlp.checkpoint import publish
from vlp.model.build import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer

PACKAGES = {"exact": "numpy", "faiss": "faiss", "milvus": "pymilvus"}


def _published(folder, arch, seed):
    torch.manual_seed(seed)
    model = build_model(ModelConfig(arch=arch))
    tokenizer = build_tokenizer(model.description.model_cfg)
    facts = {"weights": "last", "samples_seen": 5, "step": 1, "recipe": {}}
    publish(folder, model.clip.state_dict(), model.description, tokenizer, facts)
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, tiny_arch):
    return _published(tmp_path_factory.mktemp("model"), tiny_arch, 3)


@pytest.fixture(scope="session")
def other_model_folder(tmp_path_factory, tiny_arch):
    return _published(tmp_path_factory.mktemp("other model"), tiny_arch, 4)


@pytest.fixture(scope="session")
def encoder(model_folder):
    return library.load(model_folder, device="cpu")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(8):
        draw(folder / f"{number}.png", seed=number)
    return folder


@pytest.fixture
def vlp(monkeypatch, capsys):
    """Run a command; (status, what it printed, what it said of errors)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["vlp", *map(str, arguments)])
        try:
            status = command_line.main()
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def index(vlp, photos, model_folder, tmp_path):
    """Of `photos`."""
    place = tmp_path / "index"
    status, out, _ = vlp("index", photos, "--model", model_folder, "--output", place)
    assert status == 0, out
    return place


@pytest.fixture(params=sorted(PACKAGES), scope="module")
def backend(request):
    pytest.importorskip(PACKAGES[request.param])
    return request.param
