"""The tensors of a TorchScript archive, such as OpenAI's downloads, without running its program.

An archive is a zip: `data.pkl` lists the attributes of the modules, `data/N` are the bytes of the
tensors, `code/` is the program. `torch.jit.load` compiles that program. Here only the list is read,
with a reader that makes nothing but tensors, containers and inert stand-ins for the modules.
"""

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import torch
from torch import Tensor

from vlp.errors import InputError

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


def is_archive(path: Path) -> bool:
    """Whether a file is a TorchScript archive, rather than what `torch.save` writes."""
    if not is_zipfile(path):
        return False
    with ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_archive(path: Path) -> dict[str, Tensor]:
    """Parameters, buffers and other tensors by their dotted names.

    Raises:
        InputError: damaged, or its list asks for anything but tensors, containers and modules.
    """
    try:
        with ZipFile(path) as archive:
            (listing,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            root = listing.removesuffix("data.pkl")
            module = _Reader(archive, root, io.BytesIO(archive.read(listing))).load()
        found: dict[str, Tensor] = {}
        _collect(module, "", found)
    except Exception as error:  # a damaged list raises anything
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} cannot be read as a TorchScript archive: {reason}") from error
    return found


class _Module:
    """Stands for a module or any other object of the program: it only holds its attributes."""

    def __init__(self, *_: object) -> None:
        pass


class _Reader(pickle.Unpickler):
    """Finds no class of this process: what a name of the archive means is listed below."""

    def __init__(self, archive: ZipFile, root: str, listing: io.BytesIO) -> None:
        super().__init__(listing)
        self._archive = archive
        self._root = root
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 (what stands for a name)
        if module.split(".")[0] == "__torch__":
            return _Module
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _view,
            ("collections", "OrderedDict"): OrderedDict,
            ("torch.jit._pickle", "build_intlist"): list,
            ("torch.jit._pickle", "build_doublelist"): list,
            ("torch.jit._pickle", "build_boollist"): list,
            ("torch.jit._pickle", "build_tensorlist"): list,
            ("torch.jit._pickle", "restore_type_tag"): _untagged,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:  # noqa: ANN401 (pickle's own)
        _, dtype, key, _, number = pid
        if key not in self._storages:
            data = bytearray(self._archive.read(f"{self._root}data/{int(key)}"))
            whole = torch.frombuffer(data, dtype=dtype) if data else torch.zeros(0, dtype=dtype)
            if len(whole) != number:
                raise ValueError(f"data/{key} has {len(whole)} numbers, its list says {number}")
            self._storages[key] = whole
        return self._storages[key]


def _view(storage: Tensor, offset: int, size: Any, stride: Any, *_: object) -> Tensor:  # noqa: ANN401
    if storage.numel() == 0:
        return storage.reshape(size)
    return storage.as_strided(size, stride, offset)


def _untagged(value: object, _: str) -> object:
    return value


def _collect(module: object, prefix: str, found: dict[str, Tensor]) -> None:
    for name, value in vars(module).items() if isinstance(module, _Module) else ():
        if isinstance(value, Tensor):
            found[prefix + name] = value
        else:
            _collect(value, f"{prefix}{name}.", found)
