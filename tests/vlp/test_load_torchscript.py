"""TorchScript archives, as OpenAI publishes its models: their tensors, without their program."""

import copyreg
import io
import os
import pickle
import warnings
import zipfile

import open_clip
import pytest
import torch

import vlp
from tests.conftest import TINY
from vlp.errors import InputError
from vlp.interop.state_dicts import read_state_dict
from vlp.interop.torchscript import is_archive, read_archive

NAME = "ViT-T-8-test"


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
    """A tiny model, under a name that is open_clip's for as long as these tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(open_clip.factory._MODEL_CONFIGS, NAME, TINY)
        torch.manual_seed(0)
        yield open_clip.create_model(NAME).eval()


@pytest.fixture(scope="module")
def archive(clip, tmp_path_factory):
    """As OpenAI's: traced, in half precision."""
    path = tmp_path_factory.mktemp("jit") / "ViT.pt"
    tokens = open_clip.get_tokenizer(NAME)(["a"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = {"encode_image": torch.zeros(1, 3, 16, 16), "encode_text": tokens}
        torch.jit.trace_module(clip, inputs, check_trace=False).half().save(str(path))
    return path


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    module = WithAttributes()
    path = tmp_path_factory.mktemp("jit") / "module.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module).save(str(path))
    return module, path


def test_tensors_are_those_of_the_archives_own_state(scripted):
    module, path = scripted
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


def rewritten(scripted, path, change, **options):
    """A copy of an archive, with members changed by name."""
    with zipfile.ZipFile(scripted[1]) as old, zipfile.ZipFile(path, "w", **options) as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return path


def with_list(scripted, path, listing):
    """A copy of an archive with another list."""
    return rewritten(
        scripted, path, lambda name, data: listing if name.endswith("/data.pkl") else data
    )


def refusal(path):
    with pytest.raises(InputError, match=r"cannot be read as a TorchScript archive: ") as caught:
        read_archive(path)
    return str(caught.value)


class Evil:
    def __reduce__(self):
        return (os.system, ("touch executed",))


class Import:
    def __reduce__(self):
        return (__import__, ("this",))


@pytest.mark.parametrize("attack", [Evil(), Import(), io.BytesIO()])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_ever_called(scripted, tmp_path, monkeypatch, attack, protocol):
    monkeypatch.chdir(tmp_path)
    try:
        listing = pickle.dumps(attack, protocol)
    except TypeError:
        pytest.skip("this protocol has no such object")
    message = refusal(with_list(scripted, tmp_path / "evil.pt", listing))
    assert "it asks for" in message or "its list has the instruction" in message
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("listing", "reason"),
    [
        (b"\x80\x02cposix\nsystem\n.", "it asks for posix.system"),
        (b"\x80\x02\x82\xf0.", "the instruction EXT1"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "the instruction SHORT_BINUNICODE"),
        (b"\x80\x02(cposix\nsystem\n.", "it asks for posix.system"),
        (b"\x80\x02(iposix\nsystem\n.", "the instruction INST"),
        (b"\x80\x02ctorch._utils\n__import__\n.", "it asks for torch._utils.__import__"),
        # attributes of a class, of a function and of a tensor, as pickle would set them
        (b"\x80\x02c__torch__\nA\nN}X\x08\x00\x00\x00__call__K\x01s\x86b.", "SETITEM"),
        (b"\x80\x02))R.", "it calls a tuple"),
        (b"\x80\x02K\x01}b.", "it calls a int"),
        (b"\x80\x02K\x01r\xff\xff\xff\x7fK\x01.", "ValueError"),  # a far place in the memo
    ],
)
def test_instructions_that_torchscript_does_not_write_are_refused(
    scripted, tmp_path, monkeypatch, listing, reason
):
    monkeypatch.setitem(copyreg._inverted_registry, 0xF0, ("posix", "system"))
    assert reason in refusal(with_list(scripted, tmp_path / "evil.pt", listing))


def test_no_more_memory_is_taken_than_the_file_has(scripted, tmp_path):
    path = rewritten(
        scripted,
        tmp_path / "packed.pt",
        lambda name, data: data,
        compression=zipfile.ZIP_DEFLATED,
    )
    assert "data.pkl is compressed" in refusal(path)
    with zipfile.ZipFile(scripted[1]) as archive:
        listing = archive.read("module/data.pkl")
    larger = listing.replace(b"K\x03K\x02", b"J\xff\xff\xff\x7fK\x02", 1)
    assert larger != listing
    message = refusal(with_list(scripted, tmp_path / "large.pt", larger))
    assert "a tensor of shape [2147483647, 2] has" in message


def test_a_module_in_many_places_is_listed_once(scripted, tmp_path):
    """Each has the one before under two names: 2^60 paths lead to the first."""
    listing = b"N"
    for place in range(60):
        again = b"h" + bytes([place - 1]) if place else b"N"
        attributes = b"X\1\0\0\0a" + listing + b"X\1\0\0\0b" + again
        listing = b"c__torch__\nA\n)\x81}(" + attributes + b"ubq" + bytes([place])
    path = with_list(scripted, tmp_path / "many.pt", b"\x80\2" + listing + b".")
    assert read_archive(path) == {}


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
def test_damaged_archives_are_named(scripted, tmp_path, change):
    path = rewritten(scripted, tmp_path / "torn.pt", change)
    with pytest.raises(InputError, match=r"torn.pt cannot be read as a TorchScript archive"):
        vlp.load(path, "cpu")
