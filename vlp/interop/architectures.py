"""The architecture of a state dict: which of open_clip's configurations has its names and shapes.

Configurations whose sizes differ from the weights' are left out by reading them; the few others are
built on the meta device, without memory, and compared tensor by tensor. Two things do not show in
shapes: the activation, and with towers that have no position embeddings the image size.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import isqrt
from typing import Any

import open_clip
import torch
from open_clip.factory import get_model_config
from open_clip.model import convert_to_custom_text_state_dict
from torch import Tensor

from vlp.errors import InputError
from vlp.interop.open_clip_runs import RecordedRun
from vlp.interop.state_dicts import StateDict
from vlp.model.build import PREPROCESSING, ModelConfig, instantiate, read_arch, says_activation

Shapes = dict[str, tuple[int, ...]]
_TEXT_DEFAULTS = {"context_length": 77, "vocab_size": 49408, "width": 512, "layers": 12}
_VISION_DEFAULTS = {"patch_size": 16, "width": 768, "layers": 12}
_NAMED = 6  # tensors named in an error


@dataclass(frozen=True)
class Architecture:
    """A configuration that fits the weights."""

    name: str
    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]  # what a JSON file says of the pictures; empty for a name


@dataclass(frozen=True)
class _Sizes:
    """What a state dict's shapes say; None where the towers are not open_clip's own."""

    features: int | None
    text: dict[str, int] | None  # width, layers, vocab_size, context_length
    vision: dict[str, int] | None  # width, layers, patch_size
    kind: str  # of the image tower: vit, resnet, timm


def recorded(weights: StateDict, run: RecordedRun) -> Architecture:
    """The architecture of a checkpoint by the record of its run.

    Raises:
        InputError: the record leaves its activation open.
    """
    if not run.activation_known:
        return inferred(weights, (run.model, f"{run.model}-quickgelu"))
    found = stated(weights, run.model)
    if run.quick_gelu:
        found.model_cfg["quick_gelu"] = True
    if run.image_size is not None:
        found.model_cfg["vision_cfg"]["image_size"] = run.image_size
    return found


def stated(weights: StateDict, arch: str) -> Architecture:
    """The architecture that the user names, at the sizes of the weights.

    Args:
        weights: whose position embeddings decide image size and context length.
        arch: an open_clip name or a JSON file.

    Raises:
        InputError: there is no such architecture, or it is open whether it has the activation of
            OpenAI's weights, which these are.
    """
    try:
        model_cfg, preprocess_cfg = read_arch(arch)
    except ValueError as error:
        raise InputError(f"arch: {str(error).removeprefix('model.arch').lstrip(': ')}") from error
    if weights.openai and not says_activation(model_cfg):
        raise InputError(
            f"arch {arch!r} has GELU, but {weights.path} is OpenAI's, trained with quick_gelu: "
            "leave arch out, or give the -quickgelu one, or a JSON file with quick_gelu: true"
        )
    return Architecture(arch, _adapted(model_cfg, weights.tensors), preprocess_cfg)


def inferred(weights: StateDict, names: Iterable[str] | None = None) -> Architecture:
    """The one architecture of open_clip that fits.

    Args:
        weights: names and shapes.
        names: those to choose from; default all of open_clip's.

    Raises:
        InputError: none fits, or several do.
    """
    sizes = _sizes(weights)
    if sizes.text is None:
        foreign = [n for n in open_clip.list_models() if "hf_model_name" in _config(n)["text_cfg"]]
        raise InputError(
            f"{weights.path}: its text tower is none of open_clip's own, so its shapes do not tell "
            f"the architecture; say it with arch=, e.g. one of {', '.join(foreign)}"
        )
    near = [
        Architecture(name, _config(name), {})
        for name in (names or open_clip.list_models())
        if name in open_clip.list_models() and _may_fit(_config(name), sizes)
    ]
    apart = any(name.startswith("text.") for name in weights.tensors)
    found = _fitting([a for a in near if a.model_cfg.get("custom_text", False) is apart], weights)
    if not found:  # other image sizes and context lengths
        near = [replace(a, model_cfg=_adapted(a.model_cfg, weights.tensors)) for a in near]
        found = _fitting(near, weights)
    if not found:
        raise InputError(_none_fits(weights, sizes, near))
    if len(found) == 1:
        return found[0]
    if weights.openai and (quick := [own for own in found if own.model_cfg.get("quick_gelu")]):
        return quick[0]
    raise InputError(_several_fit(weights, found))


def preprocessing_of_tags(name: str) -> list[dict[str, Any]]:
    """What open_clip's pretrained weights of an architecture want of pictures, each way once."""
    tags = open_clip.list_pretrained_tags_by_model(name)
    known = [open_clip.get_pretrained_cfg(name, tag) for tag in tags]
    ways = [{key: cfg[key] for key in PREPROCESSING if key in cfg} for cfg in known]
    return [way for place, way in enumerate(ways) if way not in ways[:place]]


def _fitting(candidates: Iterable[Architecture], weights: StateDict) -> list[Architecture]:
    """Those with the weights' names and shapes; of several that are one by two names, the first."""
    found: dict[str, Architecture] = {}
    for own in candidates:
        if _differences(own.model_cfg, weights.tensors) == ([], [], []):
            same = json.dumps([own.model_cfg, preprocessing_of_tags(own.name)], sort_keys=True)
            found.setdefault(same, own)
    return list(found.values())


def _config(name: str) -> dict[str, Any]:
    config: dict[str, Any] = get_model_config(name)
    return config


def _sizes(weights: StateDict) -> _Sizes:
    tensors = weights.tensors
    if any(name.startswith(("vision_model.", "text_model.")) for name in tensors):
        raise InputError(
            f"{weights.path} has the names of Hugging Face's transformers: give the folder with "
            "its config.json, tokenizer and preprocessor_config.json"
        )
    text = {name.removeprefix("text."): value for name, value in tensors.items()}
    found = None
    if "token_embedding.weight" in text and "positional_embedding" in text:
        vocabulary, width = text["token_embedding.weight"].shape
        layers = _layers(text, r"transformer\.resblocks\.(\d+)\.")
        length = len(text["positional_embedding"])
        found = {"width": width, "layers": layers, "vocab_size": vocabulary}
        found["context_length"] = length
    vision = None
    kind = "timm" if any(name.startswith("visual.trunk.") for name in tensors) else "resnet"
    if kind != "timm" and "visual.class_embedding" in tensors:
        kind = "vit"
        width, _, _, patch = tensors["visual.conv1.weight"].shape
        layers = _layers(tensors, r"visual\.transformer\.resblocks\.(\d+)\.")
        vision = {"width": width, "layers": layers, "patch_size": patch}
    features = None
    if "text_projection" in text:
        features = text["text_projection"].shape[-1]
    elif "text_projection.weight" in text:
        features = len(text["text_projection.weight"])
    return _Sizes(features, found, vision, kind)


def _layers(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return len({m[1] for name in tensors if (m := re.match(pattern, name))})


def _may_fit(config: Mapping[str, Any], sizes: _Sizes) -> bool:
    """Whether the numbers of a configuration are those of the weights; sizes of inputs may differ.

    Configurations with a text tower of transformers' are left out: they cannot be built without
    their files.
    """
    text, vision = config["text_cfg"], config["vision_cfg"]
    if "hf_model_name" in text or sizes.features not in (None, config["embed_dim"]):
        return False
    assert sizes.text is not None
    for key in ("width", "layers", "vocab_size"):
        if text.get(key, _TEXT_DEFAULTS[key]) != sizes.text[key]:
            return False
    if "timm_model_name" in vision or isinstance(vision.get("layers"), list):
        return sizes.kind == ("timm" if "timm_model_name" in vision else "resnet")
    if sizes.vision is None:
        return False
    return all(vision.get(key, _VISION_DEFAULTS[key]) == n for key, n in sizes.vision.items())


def _adapted(model_cfg: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """A configuration at the weights' image size and context length, with their kind of text tower.

    Only for towers of open_clip's own; towers of timm have their sizes in their names.
    """
    config: dict[str, Any] = json.loads(json.dumps(model_cfg))
    vision, text = config["vision_cfg"], config["text_cfg"]
    grid = tensors.get("visual.positional_embedding")
    patch = vision.get("patch_size") or _VISION_DEFAULTS["patch_size"]
    if grid is not None and "timm_model_name" not in vision:
        side = isqrt(len(grid) - 1)
        size = vision.get("image_size", 224)
        if side * side == len(grid) - 1 and isinstance(size, int) and size // patch != side:
            vision["image_size"] = side * patch
    for name in ("positional_embedding", "text.positional_embedding"):
        if name in tensors and "hf_model_name" not in text:
            length = len(tensors[name]) - bool(text.get("embed_cls"))
            if length != text.get("context_length", _TEXT_DEFAULTS["context_length"]):
                text["context_length"] = length
    if "text.token_embedding.weight" in tensors:
        config["custom_text"] = True
    if "logit_bias" in tensors and "init_logit_bias" not in config:
        config["init_logit_bias"] = -10.0  # replaced by the weights'
    return config


def _differences(
    config: dict[str, Any], tensors: dict[str, Tensor]
) -> tuple[list[str], list[str], list[str]]:
    """(missing, unknown, of another shape): how the weights differ from a configuration's model."""
    try:
        with torch.device("meta"):
            clip, _, _ = instantiate(config, {}, ModelConfig(), device="meta")
    except ValueError:
        return ["everything"], [], []
    own = _shapes(clip.state_dict())
    if not hasattr(clip, "positional_embedding"):
        tensors = convert_to_custom_text_state_dict(tensors)
    given = _shapes(tensors)
    missing = sorted(own.keys() - given.keys())
    unknown = sorted(given.keys() - own.keys())
    other = sorted(name for name in own.keys() & given.keys() if own[name] != given[name])
    return missing, unknown, other


def _shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    """Without counters of batches, and without the shape of scalars, which may be [] or [1]."""
    return {
        name: () if value.numel() == 1 else tuple(value.shape)
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked")
    }


def _none_fits(weights: StateDict, sizes: _Sizes, near: list[Architecture]) -> str:
    text = ", ".join(f"{key} {value}" for key, value in (sizes.text or {}).items())
    vision = ", ".join(f"{key} {value}" for key, value in (sizes.vision or {}).items())
    told = f"image tower {sizes.kind}{vision and f' ({vision})'}, text tower ({text})"
    message = f"{weights.path}: no architecture of open_clip has its tensors: {told}"
    if near:
        best = min(near, key=lambda own: _distance(own, weights))
        missing, unknown, other = _differences(best.model_cfg, weights.tensors)
        parts = [
            f"{len(names)} {what}: {', '.join(names[:_NAMED])}{', ...' * (len(names) > _NAMED)}"
            for names, what in ((missing, "missing"), (unknown, "more"), (other, "of other shape"))
            if names
        ]
        message += f"; the nearest is {best.name} ({'; '.join(parts)})"
    return f"{message}; say it with arch=, an open_clip name or a JSON configuration"


def _distance(own: Architecture, weights: StateDict) -> int:
    return sum(map(len, _differences(own.model_cfg, weights.tensors)))


def _several_fit(weights: StateDict, found: list[Architecture]) -> str:
    names = [own.name for own in found]
    message = f"{weights.path} fits {' and '.join(names)}, whose tensors have the same shapes"
    if {bool(own.model_cfg.get("quick_gelu")) for own in found} == {True, False}:
        message += (
            "; they differ in activation, and with the wrong one every feature is wrong: the "
            "-quickgelu one is for OpenAI's weights and for what was fine-tuned from them"
        )
    return f"{message}; say which: arch={names[0]!r}, or {names[0]}=FILE as the name of the model"
