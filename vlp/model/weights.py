"""Weights from a checkpoint, an open_clip pretrained tag, a folder or a file.

Only safetensors and `torch.load(weights_only=True)` are ever used: a pickle can run code.
"""

import logging
import pickle
from pathlib import Path

import open_clip
import torch
from open_clip.factory import load_state_dict
from open_clip.model import (
    convert_to_custom_text_state_dict,
    resize_pos_embed,
    resize_text_pos_embed,
)
from open_clip.pretrained import download_pretrained
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vlp.published import CAPTIONER_FILE, PICKLED_FILE, WEIGHTS_FILE, find_published

log = logging.getLogger(__name__)
_HARMLESS = ("num_batches_tracked", "logit_bias")  # no feature depends on them
_NAMED = 6  # tensors in an error


def resolve_weights(arch: str, weights: str) -> Path:
    """The weight file that `weights` means.

    Args:
        arch: the model's name, to which pretrained tags belong.
        weights: a run, checkpoint or model folder of ours, a folder in open_clip's format, a file,
            or an open_clip pretrained tag (downloaded).
    """
    path = Path(weights).expanduser()
    if path.is_dir():
        folder = find_published(path)
        if not (folder / WEIGHTS_FILE).is_file() and (folder / PICKLED_FILE).is_file():
            return folder / PICKLED_FILE
        return folder / WEIGHTS_FILE
    if path.is_file():
        return path
    tag = open_clip.get_pretrained_cfg(arch.replace("/", "-"), weights)
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(arch)) or "none"
        raise ValueError(
            f"model.weights {weights!r} is no file, no folder and no pretrained tag of {arch}; "
            f"its tags: {tags}"
        )
    return Path(download_pretrained(tag))


def load_weights(clip: nn.Module, arch: str, weights: str, *, strict: bool = False) -> None:
    """Load weights into an open_clip model, resizing position embeddings where sizes differ.

    Every tensor that is missing, unused or of another shape is named in the log; a missing one
    keeps its fresh value.

    Args:
        clip: the model.
        arch: its name.
        weights: as `resolve_weights` takes them.
        strict: refuse weights that leave a tensor at its fresh value.

    Raises:
        ValueError: unreadable, or not a single tensor fits.
    """
    path = resolve_weights(arch, weights)
    try:
        state: dict[str, Tensor] = load_state_dict(str(path), weights_only=True)
    except (
        OSError,
        pickle.UnpicklingError,
        RuntimeError,
        ValueError,
        KeyError,
        SafetensorError,
    ) as error:
        raise ValueError(f"model.weights: {path} cannot be read: {error}") from error
    load_tensors(clip, arch, state, path, strict=strict)


def load_tensors(
    clip: nn.Module, arch: str, state: dict[str, Tensor], path: Path, *, strict: bool
) -> None:
    """`load_weights` with the tensors of a file, which is named in messages."""
    own = clip.state_dict()
    state = _fit(clip, own, state)
    fits = {name: value for name, value in state.items() if _same_shape(own.get(name), value)}
    if not fits:
        raise ValueError(f"model.weights: no tensor of {path} fits {arch}")
    fresh = sorted(name for name in own.keys() - fits.keys() if not name.endswith(_HARMLESS))
    if strict and fresh:
        named = ", ".join(fresh[:_NAMED]) + ", ..." * (len(fresh) > _NAMED)
        raise ValueError(f"{path} does not fit {arch}: {len(fresh)} tensors are missing: {named}")
    clip.load_state_dict(fits, strict=False)
    for title, names in (
        ("missing, left at their fresh values", sorted(own.keys() - state.keys())),
        ("unused", sorted(state.keys() - own.keys())),
        ("of another shape, left at their fresh values", sorted(state.keys() & own.keys() - fits)),
    ):
        if names:
            log.warning("%s: %d tensors %s: %s", path, len(names), title, ", ".join(names))
    log.info("%s: loaded %d of %d tensors", path, len(fits), len(own))


def load_captioner(captioner: nn.Module, weights: str) -> None:
    """Load a captioning decoder from a published model's folder.

    Raises:
        ValueError: the file is missing, or is not of this decoder.
    """
    path = find_published(Path(weights).expanduser()) / CAPTIONER_FILE
    try:
        captioner.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"model.weights: {path} cannot be loaded: {error}") from error


def _same_shape(own: Tensor | None, value: Tensor) -> bool:
    return own is not None and own.shape == value.shape


def _fit(clip: nn.Module, own: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring a foreign state to this model's layout and sizes."""
    if "positional_embedding" in state and not hasattr(clip, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    for name in ("logit_scale", "logit_bias"):
        if name in state and name in own and state[name].numel() == own[name].numel():
            state[name] = state[name].reshape(own[name].shape)
    widths = {
        name: (state[name].shape[-1], own[name].shape[-1])
        for name in ("positional_embedding", "text.positional_embedding")
        if name in state and name in own
    }
    if all(theirs == ours for theirs, ours in widths.values()):
        with torch.no_grad():
            resize_text_pos_embed(state, clip)
            resize_pos_embed(state, clip)
    return state
