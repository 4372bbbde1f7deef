"""TorchScript archives, as OpenAI publishes its models: their tensors, without their program."""

import io
import os
import pickle
import warnings
import zipfile

import open_clip
import pytest
import torch

import vlp
from vlp.errors import InputError
from vlp.interop.torchscript import is_archive, read_archive

NAME = "ViT-S-32-alt"


class WithAttributes(torch.nn.Module):
    """What archives hold besides parameters: lists, views of one storage, numbers, nothing."""

    def __init__(self):
        super().__init__()
        whole = torch.arange(12.0)
        self.register_buffer("upper", whole[:6].view(2, 3).T)
        self.register_buffer("lower", whole[6:])
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("empty", torch.zeros(0, 4))
        self.sizes = [3, 4]
        self.inner = torch.nn.ModuleList([torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)])

    def forward(self, x):
        return self.inner[1](self.inner[0](x)) + sum(self.sizes)


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return open_clip.create_model(NAME).eval()


@pytest.fixture(scope="module")
def archive(clip, tmp_path_factory):
    """As OpenAI's: traced, in half precision."""
    path = tmp_path_factory.mktemp("jit") / "ViT.pt"
    tokens = open_clip.get_tokenizer(NAME)(["a"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = {"encode_image": torch.zeros(1, 3, 224, 224), "encode_text": tokens}
        torch.jit.trace_module(clip, inputs, check_trace=False).half().save(str(path))
    return path


def test_tensors_are_those_of_the_archives_own_state(tmp_path):
    module = WithAttributes()
    path = tmp_path / "module.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module).save(str(path))
    found = read_archive(path)
    assert found.keys() == module.state_dict().keys()
    for name, value in module.state_dict().items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert torch.equal(found[name], value), name


def test_a_model_loads_from_an_archive(archive, clip):
    encoder = vlp.load(archive, "cpu")
    assert encoder.description["model"] == NAME
    half = {name: value.half().float() for name, value in clip.state_dict().items()}
    for name, value in encoder.model.clip.state_dict().items():
        assert torch.equal(value, half[name]), name


def test_marks_of_openais_archives_settle_the_activation(clip, tmp_path):
    from vlp.interop.state_dicts import read_state_dict

    marks = {name: torch.tensor(7) for name in ("input_resolution", "context_length", "vocab_size")}
    path = tmp_path / "openai.pt"
    torch.save(clip.state_dict() | marks, path)
    found = read_state_dict(path)
    assert found.openai
    assert found.tensors.keys() == clip.state_dict().keys()


def test_what_torch_save_writes_is_no_archive(tmp_path):
    path = tmp_path / "plain.pt"
    torch.save({"a": torch.zeros(2)}, path)
    assert not is_archive(path)
    path.write_bytes(b"no zip")
    assert not is_archive(path)


def rewritten(archive, path, change):
    """A copy of an archive, with members changed by name."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return path


class Evil:
    def __reduce__(self):
        return (os.system, ("touch executed",))


class Import:
    def __reduce__(self):
        return (__import__, ("this",))


@pytest.mark.parametrize(
    ("attack", "named"),
    [(Evil(), "posix.system"), (Import(), "builtins.__import__"), (io.BytesIO(), "_io.BytesIO")],
)
def test_nothing_but_tensors_is_ever_made(archive, tmp_path, monkeypatch, attack, named):
    monkeypatch.chdir(tmp_path)

    def change(name, data):
        return pickle.dumps(attack) if name.endswith("/data.pkl") else data

    path = rewritten(archive, tmp_path / "evil.pt", change)
    with pytest.raises(InputError, match=rf"TorchScript archive: .*it asks for {named}"):
        vlp.load(path, "cpu")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda name, data: data[: len(data) // 2] if name.endswith("/data.pkl") else data,
        lambda name, data: data[:-4] if name.endswith("/data/3") else data,
        lambda name, data: None if name.endswith("/data/3") else data,
        lambda name, data: None if name.endswith("/data.pkl") else data,
        lambda name, data: b"" if name.endswith("/data.pkl") else data,
    ],
)
def test_damaged_archives_are_named(archive, tmp_path, change):
    path = rewritten(archive, tmp_path / "torn.pt", change)
    with pytest.raises(InputError, match=r"torn.pt cannot be read as a TorchScript archive"):
        vlp.load(path, "cpu")
