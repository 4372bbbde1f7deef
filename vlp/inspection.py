"""What is known of a model: its towers, what they read, how it was trained, how well it does."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from vlp.checkpoint import Card, read_card, versions
from vlp.encoder import BaseEncoder, Encoder
from vlp.interop.huggingface import HuggingFaceEncoder, weight_files
from vlp.interop.state_dicts import read_state_dict
from vlp.model.towers import DualEncoder
from vlp.published import CARD_FILE, CONFIG_FILE, PICKLED_FILE, WEIGHTS_FILE
from vlp.run_results import read_results


def describe(encoder: BaseEncoder, source: str) -> dict[str, Any]:
    """All that is known of a loaded model, for JSON.

    Args:
        encoder: as `vlp.load` gives it.
        source: what it was loaded from, in the user's words.
    """
    folder = Path(encoder.path or "")
    card = read_card(folder) if folder.is_dir() else None
    facts = {
        "source": source,
        "kind": _kind(encoder, folder),
        "path": encoder.path,
        "architecture": encoder.description["model"],
        "parameters": _parameters(encoder),
        "towers": _towers(encoder),
        "features": encoder.width,
        "context_length": encoder.context_length,
        "activation": encoder.description["act"],
        "activation_known": encoder.description["act_known"],
        "scale": float(encoder.scale),
        "bias": _bias(encoder),
        "pictures": _pictures(encoder),
        "tokenizer": _tokenizer(encoder),
        "stored_as": _stored(folder),
        "fingerprint": encoder.fingerprint,
        "training": None if card is None else _training(card),
        "results": read_results(folder) if card is not None else [],
        "versions": versions() if card is None else card.versions,
    }
    return facts


def _kind(encoder: BaseEncoder, path: Path) -> str:
    if isinstance(encoder, HuggingFaceEncoder):
        return f"Hugging Face folder ({encoder.family})"
    if path.is_file():
        return "file of weights"
    if not path.is_dir():
        return "open_clip's pretrained weights"
    if (path / CARD_FILE).is_file():
        of_run = path.name == "model" and path.parent.parent.name == "checkpoints"
        return "checkpoint of a run" if of_run else "model folder of vlp"
    return "folder in open_clip's format"


def _parameters(encoder: BaseEncoder) -> dict[str, int]:
    """Numbers of parameters; those of the temperature are in the total alone."""
    if isinstance(encoder, Encoder):
        clip: Any = encoder.model.clip
        decoder = encoder.model.captioner or getattr(clip, "text_decoder", None)
        parts = {"image": _count([clip.visual]), "captioner": _count([decoder] if decoder else [])}
        total = _count([encoder.model])
        scalars = [clip.logit_scale, getattr(clip, "logit_bias", None)]
        apart = sum(value.numel() for value in scalars if value is not None)
        text = total - apart - sum(parts.values())
        return {"total": total, "image": parts["image"], "text": text} | (
            {"captioner": parts["captioner"]} if decoder else {}
        )
    model: Any = getattr(encoder, "model", nn.Module())
    halves = {"image": ("vision_model", "visual_projection"), "text": ("text_model",)}
    halves["text"] += ("text_projection",)
    found = {
        name: _count([own for part in parts if (own := getattr(model, part, None)) is not None])
        for name, parts in halves.items()
    }
    return {"total": _count([model]), **found}


def _count(modules: Iterable[nn.Module]) -> int:
    return sum(own.numel() for module in modules for own in module.parameters())


def _towers(encoder: BaseEncoder) -> dict[str, str]:
    if isinstance(encoder, Encoder):
        model_cfg = encoder.model.description.model_cfg
        vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
        return {"image": _image_tower(vision), "text": _text_tower(text)}
    config: Any = encoder.model.config  # type: ignore[attr-defined]
    vision, text = config.vision_config, config.text_config
    return {
        "image": _numbers("ViT", vision.to_dict()),
        "text": _numbers("transformer", text.to_dict()),
    }


def _image_tower(vision: Mapping[str, Any]) -> str:
    if "timm_model_name" in vision:
        return f"timm's {vision['timm_model_name']}"
    if isinstance(vision.get("layers"), list):
        layers = " + ".join(map(str, vision["layers"]))
        return f"ResNet, width {vision.get('width', 64)}, blocks {layers}"
    width = vision.get("width", 768)
    heads = width // vision.get("head_width", 64)
    known = {"patch_size": 16, "layers": 12, **vision, "width": width, "heads": heads}
    return _numbers("ViT", known)


def _text_tower(text: Mapping[str, Any]) -> str:
    if "hf_model_name" in text:
        return f"transformers' {text['hf_model_name']}"
    defaults = {"width": 512, "layers": 12, "heads": 8, "vocab_size": 49408}
    return _numbers("transformer", {**defaults, **text})


_NUMBERS = (
    ("patch_size", "patch"),
    ("width", "width"),
    ("hidden_size", "width"),
    ("layers", "layers"),
    ("num_hidden_layers", "layers"),
    ("heads", "heads"),
    ("num_attention_heads", "heads"),
    ("vocab_size", "vocabulary"),
)


def _numbers(kind: str, config: Mapping[str, Any]) -> str:
    there = (f"{name} {config[key]:,}" for key, name in _NUMBERS if config.get(key) is not None)
    return ", ".join([kind, *there])


def _bias(encoder: BaseEncoder) -> float | None:
    model: Any = getattr(encoder, "model", None)
    if isinstance(model, DualEncoder):
        return float(model.bias.detach()) if "bias" in model.provides else None
    bias = getattr(model, "logit_bias", None)
    return None if bias is None else float(bias.detach())


def _pictures(encoder: BaseEncoder) -> dict[str, Any]:
    height, width = encoder.image_size
    names = ("interp", "resize_mode", "resize", "mean", "std")
    known = {name: encoder.protocol[name] for name in names if name in encoder.protocol}
    return {"height": height, "width": width, **known}


def _tokenizer(encoder: BaseEncoder) -> str:
    own: Any = encoder.tokenizer  # type: ignore[attr-defined]
    own = getattr(own, "tokenizer", own)  # ours wraps open_clip's,
    own = getattr(own, "tokenizer", own)  # which may wrap one of transformers
    return str(type(own).__name__)


def _stored(path: Path) -> dict[str, int]:
    """Numbers that a model's files hold, by their type; empty where there are no files."""
    files = [path] if path.is_file() else []
    if (path / CONFIG_FILE).is_file():
        files = [own for name in (WEIGHTS_FILE, PICKLED_FILE) if (own := path / name).is_file()][:1]
    elif path.is_dir():
        files = weight_files(path)
    found: Counter[str] = Counter()
    for file in files:
        if file.suffix != ".safetensors":
            for value in read_state_dict(file).tensors.values():
                found[str(value.dtype).removeprefix("torch.")] += value.numel()
            continue
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (it is no mapping)
                part = tensors.get_slice(name)  # its header alone is read
                dtype = part.get_dtype()
                found[_DTYPES.get(dtype, dtype)] += prod(part.get_shape())
    return dict(found)


_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64", "I64": "int64"}


def _training(card: Card) -> dict[str, Any]:
    kept = asdict(card)
    return {name: kept[name] for name in ("step", "samples_seen", "weights", "recipe")}
