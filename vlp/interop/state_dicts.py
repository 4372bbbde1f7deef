"""The tensors of a weight file, whatever trainer wrote it: safetensors, `torch.save`, TorchScript.

Pickles are read by `torch.load(weights_only=True)` alone, which makes nothing but tensors and
containers, and TorchScript archives without their program.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vlp.errors import InputError
from vlp.interop.torchscript import is_archive, read_archive

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size")  # OpenAI's archives have them
_BUFFERS = ("attn_mask", "position_ids")  # made anew by every model
_SCALE = "logit_scale"


@dataclass(frozen=True)
class StateDict:
    """The weights of a model, by the names that open_clip gives them."""

    path: Path
    tensors: dict[str, Tensor]
    openai: bool  # whether the file has marks that only OpenAI's own have


def read_state_dict(path: Path) -> StateDict:
    """Read a weight file.

    The weights may stand in an entry of their own (`state_dict`, `model`, ...), and their names may
    begin with what wrappers add (`module.`, `_orig_mod.`, `model.`, ...).

    Raises:
        InputError: unreadable, holds anything but tensors and containers, several sets of weights,
            or no weights of a CLIP.
    """
    if path.suffix == ".safetensors":
        content: Any = _read_safetensors(path)
    elif is_archive(path):
        content = read_archive(path)
    else:
        content = read_pickle(path)
    tensors = _unwrapped(_chosen(content, path), path)
    openai = all(name in tensors for name in _NO_WEIGHTS)
    kept = {
        name: value
        for name, value in tensors.items()
        if name not in _NO_WEIGHTS and name.rpartition(".")[2] not in _BUFFERS
    }
    return StateDict(path, kept, openai)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}") from error
    return tensors


def read_pickle(path: Path) -> Any:  # noqa: ANN401 (a file may hold anything)
    """What `torch.save` wrote, if it is tensors and containers.

    Raises:
        InputError: it holds anything else, or cannot be read.
    """
    try:
        # mapped: the state of an optimizer is twice the weights, and is never looked at
        return torch.load(path, "cpu", weights_only=True, mmap=is_zipfile(path))
    except Exception as error:  # a damaged pickle raises anything
        foreign = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        if foreign is None:
            # torch's own message tells how to switch the protection off
            known = error.strerror if isinstance(error, OSError) else None
            reason = known or "torch did not write it, or it is damaged"
            raise InputError(f"{path} cannot be read as a checkpoint: {reason}") from error
        raise InputError(
            f"{path} holds more than tensors ({foreign[1]}), which is not loaded, since it could "
            "run code; where you trust it, save its weights alone: "
            "torch.save(torch.load(FILE, weights_only=False)['state_dict'], NEW_FILE)"
        ) from error


def _chosen(content: object, path: Path) -> dict[str, Tensor]:
    """The one set of weights in a file's content."""
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds a {type(content).__name__}, not the weights of a model")
    if _has_scale(content):
        sets = {"": content}
    else:
        sets = {str(name): value for name, value in content.items() if _has_scale(value)}
    if len(sets) > 1:
        raise InputError(
            f"{path} has several sets of weights ({', '.join(sets)}); save the one you mean alone: "
            f"torch.save(torch.load(FILE, weights_only=True)[{next(iter(sets))!r}], NEW_FILE)"
        )
    if not sets:
        entries = ", ".join(sorted(map(str, content))[:8])
        raise InputError(
            f"{path} has no {_SCALE}, so it is not of a CLIP; it begins with: {entries}"
        )
    (found,) = sets.values()
    return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}


def _has_scale(value: object) -> bool:
    return isinstance(value, Mapping) and any(
        str(name).rpartition(".")[2] == _SCALE and isinstance(tensor, Tensor)
        for name, tensor in value.items()
    )


def _unwrapped(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Without what wrappers put before the names, by the one parameter that every CLIP has."""
    tensors = {name.replace("_orig_mod.", ""): value for name, value in tensors.items()}
    scales = [name for name in tensors if name.rpartition(".")[2] == _SCALE]
    if len(scales) > 1:
        raise InputError(f"{path} has several models: {', '.join(scales)}")
    prefix = scales[0].removesuffix(_SCALE)
    return {name.removeprefix(prefix): value for name, value in tensors.items()}
