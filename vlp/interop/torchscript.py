"""The tensors of a TorchScript archive, such as OpenAI's downloads, without running its program.

An archive is a zip: `data.pkl` lists the attributes of the modules, `data/N` are the bytes of the
tensors, `code/` is the program. `torch.jit.load` compiles that program, and
`torch.load(weights_only=True)` refuses such files. Here the list is not unpickled: its instructions
are read one by one into plain values. No name in it is looked up in Python, nothing is called, and
an instruction or a name that TorchScript does not write is refused. Members of the zip must be
uncompressed and each is read once, and a tensor is no larger than its bytes: the memory taken is
that of the file.
"""

import pickletools
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, is_zipfile

import torch
from torch import Tensor

from vlp.errors import InputError

_LISTING = "data.pkl"
_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_REBUILD = "torch._utils _rebuild_tensor_v2"
_HOOKS = "collections OrderedDict"  # of a tensor: always empty
_AS_IT_IS = {  # what these are given stays as it is
    *(f"torch.jit._pickle build_{kind}list" for kind in ("int", "double", "bool", "tensor")),
    "torch.jit._pickle restore_type_tag",
    "torch device",
}
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def is_archive(path: Path) -> bool:
    """Whether a file is a TorchScript archive, rather than what `torch.save` writes."""
    if not is_zipfile(path):
        return False
    with ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_archive(path: Path) -> dict[str, Tensor]:
    """Parameters, buffers and other tensors by their dotted names.

    A module that stands in several places is listed at the first.

    Raises:
        InputError: damaged, or its list has anything but tensors, containers and modules.
    """
    try:
        with ZipFile(path) as archive:
            module = _Listing(archive, path.stat().st_size).read()
        found: dict[str, Tensor] = {}
        _collect(module, "", found, set())
    except Exception as error:  # a damaged list raises anything
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} cannot be read as a TorchScript archive: {reason}") from error
    return found


class _Name(str):
    """Names a class or function, by its module and its own name; it is never looked up."""


class _Module(dict[str, Any]):
    """The attributes of a module, or of any other object of the program."""


class _Listing:
    """The instructions of `data.pkl`, which build one value on a stack."""

    def __init__(self, archive: ZipFile, size: int) -> None:
        listings = [name for name in archive.namelist() if name.endswith(f"/{_LISTING}")]
        if len(listings) != 1:
            raise ValueError(f"it has {len(listings)} lists {_LISTING}")
        self._archive = archive
        self._unread = size  # members of a zip may overlap
        self._root = listings[0].removesuffix(_LISTING)
        self._stack: list[Any] = []
        self._marks: list[int] = []  # where on the stack lists and tuples begin
        self._memo: dict[int, Any] = {}
        self._storages: dict[int, Tensor] = {}

    def read(self) -> Any:  # noqa: ANN401 (whatever the archive holds)
        for instruction, argument, _ in pickletools.genops(self._member(_LISTING)):
            self._do(instruction.name, argument)
        (value,) = self._stack
        return value

    def _do(self, name: str, argument: Any) -> None:  # noqa: ANN401
        stack = self._stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "GLOBAL":
            stack.append(_known(argument))
        elif name in ("EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT"):
            stack.append({"EMPTY_TUPLE": (), "EMPTY_LIST": [], "EMPTY_DICT": {}}[name])
        elif name == "TUPLE":
            stack.append(tuple(self._marked()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            given = tuple(stack[-int(name[-1]) :])
            stack[-len(given) :] = [given]
        elif name == "APPENDS":
            more = self._marked()
            stack[-1].extend(more)
        elif name == "SETITEMS":
            more = self._marked()
            stack[-1].update(zip(more[::2], more[1::2], strict=True))
        elif name == "BINPERSID":
            stack.append(self._storage(*stack.pop()))
        elif name in ("NEWOBJ", "REDUCE", "BUILD"):
            given = stack.pop()
            stack.append(_built(stack.pop(), given))
        elif name not in ("PROTO", "STOP"):
            raise ValueError(f"its list has the instruction {name}")

    def _marked(self) -> list[Any]:
        """Take from the stack what lies above the last mark."""
        start = self._marks.pop()
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def _storage(self, _: str, name: str, key: str, __: str, number: int) -> Tensor:
        """All numbers of a tensor's bytes, [number]."""
        place = int(key)
        if place not in self._storages:
            data = bytearray(self._member(f"data/{place}"))
            dtype = _DTYPES[name.removeprefix("torch ")]
            whole = torch.frombuffer(data, dtype=dtype) if data else torch.zeros(0, dtype=dtype)
            if len(whole) != number:
                raise ValueError(f"data/{key} has {len(whole)} numbers, its list says {number}")
            self._storages[place] = whole
        return self._storages[place]

    def _member(self, name: str) -> bytes:
        member = self._archive.getinfo(self._root + name)
        if member.compress_type != ZIP_STORED:
            raise ValueError(f"{name} is compressed")
        self._unread -= member.file_size
        if self._unread < 0:
            raise ValueError("its members are larger than it is")
        return self._archive.read(member)


def _known(argument: str) -> _Name:
    module, _, name = argument.partition(" ")
    own = module.partition(".")[0] == "__torch__" or (module == "torch" and name in _DTYPES)
    if not own and argument not in (_REBUILD, _HOOKS, *_AS_IT_IS):
        raise ValueError(f"it asks for {module}.{name}")
    return _Name(argument)


def _built(what: Any, given: Any) -> Any:  # noqa: ANN401
    """The value that a name stands for with its arguments, or a module with its attributes."""
    if isinstance(what, _Module):
        what.update(given)
        return what
    if not isinstance(what, _Name):
        raise ValueError(f"it calls a {type(what).__name__}")
    if what == _REBUILD:
        storage, offset, size, stride, *_ = given
        return _view(storage, offset, size, stride)
    if what == _HOOKS:
        return {}
    return given[0] if what in _AS_IT_IS else _Module()


def _view(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    if prod(size) > len(storage):
        raise ValueError(f"a tensor of shape {list(size)} has {len(storage)} numbers")
    return storage.as_strided(size, stride, offset) if len(storage) else storage.reshape(size)


def _collect(
    module: Mapping[str, Any], prefix: str, found: dict[str, Tensor], seen: set[int]
) -> None:
    seen.add(id(module))
    for name, value in module.items():
        if isinstance(value, Tensor):
            found[prefix + name] = value
        elif isinstance(value, _Module) and id(value) not in seen:
            _collect(value, f"{prefix}{name}.", found, seen)
