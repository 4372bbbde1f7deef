"""The code by which users load what was exported, for the card and for the terminal."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from vlp.encoder import BaseEncoder, Encoder
from vlp.export.markdown import Raw, render_code
from vlp.interop.huggingface import SIGLIP, HuggingFaceEncoder

PACKAGES = {
    "open_clip": "open_clip_torch",
    "transformers": "transformers torch torchvision",
    "sentence-transformers": "sentence-transformers torchvision",
    "onnx": "onnxruntime tokenizers numpy pillow",
}


_LOADERS = {
    "open_clip": (
        "open_clip.create_model_and_transforms({local})",
        "open_clip.get_tokenizer({local})",
    ),
    "transformers": (
        "AutoModel.from_pretrained({folder})",
        "AutoProcessor.from_pretrained({folder})",
    ),
    "sentence-transformers": ("SentenceTransformer({folder})",),
    "onnx": ("onnxruntime.InferenceSession({image})", "onnxruntime.InferenceSession({text})"),
}


def loaders(form: str, folder: Path) -> list[str]:
    """The calls that load an exported folder, for the terminal."""
    names = {
        "folder": str(folder),
        "local": f"local-dir:{folder}",
        "image": str(folder / "image.onnx"),
        "text": str(folder / "text.onnx"),
    }
    quoted = {name: _quoted(value) for name, value in names.items()}
    return [call.format(**quoted) for call in _LOADERS[form]]


def usage(form: str, encoder: BaseEncoder, folder: str) -> Raw:
    """A program that encodes a picture and texts with an exported folder.

    Args:
        form: its format.
        encoder: that was exported.
        folder: its name: the program is run beside it, wherever that is by then.
    """
    values = {"folder": _quoted(folder), "siglip": _is_siglip(encoder)}
    return render_code(form, **values, **(_pictures(encoder) if form == "onnx" else {}))


def exact_pictures(form: str, encoder: BaseEncoder) -> Raw | None:
    """How training prepares pictures, where transformers' processor crops at another pixel."""
    if form != "transformers" or not isinstance(encoder, Encoder):
        return None
    found = _pictures(encoder)
    if found["kind"] != "shortest":
        return None
    config = encoder.model.description.preprocess_cfg
    numbers = {name: list(config[name]) for name in ("mean", "std")}
    return render_code("exact", height=found["height"], resample=found["resample"], **numbers)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _is_siglip(encoder: BaseEncoder) -> bool:
    if isinstance(encoder, HuggingFaceEncoder):
        return bool(encoder.family == SIGLIP)
    # of open_clip's models those whose texts are read with their padding are written as SigLIP
    return isinstance(encoder, Encoder) and encoder.model.trimmer is None


def _pictures(encoder: BaseEncoder) -> dict[str, Any]:
    """How pictures are resized and cropped."""
    height, width = encoder.image_size
    found: dict[str, Any] = {"height": height, "width": width, "crops_down": False}
    if isinstance(encoder, HuggingFaceEncoder):
        own = encoder.preprocess
        found["resample"] = Image.Resampling(own.resample).name
        found["kind"] = "shortest" if own.squash is None else "squash"
        found["resized"] = own.shortest if own.squash is None else own.squash
        return {**found, "crops_down": own.crop is not None}
    assert isinstance(encoder, Encoder)
    config = encoder.model.description.preprocess_cfg
    mode = config.get("resize_mode") or "shortest"
    # open_clip resizes to a box that is not square by its default interpolation
    bicubic = config.get("interpolation") != "bilinear" or (mode == "shortest" and height != width)
    found["resample"] = "BICUBIC" if bicubic else "BILINEAR"
    found["fill"] = (config.get("fill_color", 0),) * 3
    if mode == "squash":
        return {**found, "kind": mode, "resized": (height, width)}
    square = mode == "shortest" and height == width
    return {**found, "kind": mode if square or mode == "longest" else "cover", "resized": height}
