"""A folder for transformers: `AutoModel`, `AutoProcessor`, pipelines.

The tokenizer's file holds open_clip's cleaning of texts, so no step is needed before it. Pictures
go through CLIPImageProcessor or SiglipImageProcessor, which differ from torchvision, with which
open_clip prepares them, in how they round and in where they crop.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, AutoProcessor, CLIPModel, SiglipModel

from vlp.data.files import write_json
from vlp.encoder import BaseEncoder, Encoder
from vlp.errors import InputError
from vlp.export import cleaning, probe
from vlp.export.clip_model import clip_obstacles, to_clip
from vlp.export.probe import Checked
from vlp.export.siglip_model import siglip_obstacles, to_siglip
from vlp.export.tokenizer_json import WrittenTokenizer, write_tokenizer
from vlp.interop.huggingface import CLIP, SIGLIP, HuggingFaceEncoder

_RESAMPLE = {"bilinear": 2}  # Pillow's numbers; open_clip takes everything else for bicubic, 3
_COPIED = (".json", ".safetensors", ".txt", ".model")
_PIL = {"backend": "pil"} if int(transformers.__version__.split(".")[0]) > 4 else {"use_fast": False}
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")
_ROUNDS = (
    "its image processor resizes with other roundings than in training, unless it is loaded with "
    'backend="pil" (transformers 4: use_fast=False)'
)
_CROPS = (
    "its image processor crops one pixel beside the place of training where the longer side "
    "loses 3, 7, 11, ... pixels"
)


def write_transformers(encoder: BaseEncoder, folder: Path) -> Checked:
    """Fill a folder, then load it as its users will.

    Raises:
        InputError: transformers has no model of this kind; nothing has been written.
        RunError: what was written gives other features.
    """
    if isinstance(encoder, HuggingFaceEncoder):
        notes = _copy(encoder, folder)
    else:
        assert isinstance(encoder, Encoder)
        notes = _write(encoder, folder)
    with quiet():
        return _check(encoder, folder, notes)


def family_of(encoder: BaseEncoder, tokenizer: WrittenTokenizer) -> str:
    """Which of its models transformers has for an encoder: "clip" or "siglip".

    Raises:
        InputError: none; the message says why.
    """
    if isinstance(encoder, HuggingFaceEncoder):
        return encoder.family
    assert isinstance(encoder, Encoder)
    highest = tokenizer.tokenizer.get_vocab_size() - 1
    clip = clip_obstacles(encoder.model, _end_id(encoder), highest)
    siglip = siglip_obstacles(encoder.model)
    pictures = _picture_obstacles(encoder.model.description.preprocess_cfg)
    if not clip and not pictures:
        return CLIP
    if not siglip and not pictures:
        return SIGLIP
    nearer = siglip if len(siglip) < len(clip) else clip
    name = "SiglipModel" if nearer is siglip else "CLIPModel"
    raise InputError(
        f"transformers' {name} cannot express this model: {'; '.join(nearer + pictures)}. "
        "Formats that can: open_clip, onnx"
    )


def _end_id(encoder: Encoder) -> int | None:
    try:
        return encoder.tokenizer.end_id
    except ValueError:
        return None


def _picture_obstacles(config: Mapping[str, Any]) -> list[str]:
    size = config["size"]
    found = []
    if config.get("resize_mode") == "longest":
        found.append("resize_mode 'longest'")
    if not isinstance(size, int) and size[0] != size[1]:
        found.append(f"pictures of {size[0]} x {size[1]} pixels")
    return found


def _write(encoder: Encoder, folder: Path) -> list[str]:
    tokenizer = write_tokenizer(encoder)
    family = family_of(encoder, tokenizer)
    if family == CLIP:
        config, state = to_clip(encoder, encoder.tokenizer.end_id)
        model: Any = CLIPModel(config)
    else:
        config, state = to_siglip(encoder, tokenizer.pad_id)
        model = SiglipModel(config)
    model.load_state_dict(state)
    with quiet():
        model.eval().save_pretrained(str(folder))
    names = _special_tokens(encoder, tokenizer, family)
    write_tokenizer_files(folder, tokenizer, family, names)
    squash = encoder.model.description.preprocess_cfg.get("resize_mode") == "squash"
    write_json(folder / "preprocessor_config.json", _processor(encoder, family, squash=squash))
    notes = [cleaning.LEFT_OUT, _ROUNDS, *([] if squash else [_CROPS])]
    if family == CLIP and encoder.model.clip.logit_bias is not None:
        bias = float(encoder.model.bias)
        notes.append(f"CLIPModel has no logit_bias; this model was trained with one, now {bias:g}")
    if encoder.model.captions:
        notes.append("the captioning decoder is left out")
    return notes


def _special_tokens(
    encoder: Encoder, tokenizer: WrittenTokenizer, family: str
) -> dict[str, str | None]:
    inner = getattr(encoder.tokenizer.tokenizer, "tokenizer", None)
    name = tokenizer.tokenizer.id_to_token
    if inner is not None:
        own = {key: getattr(inner, key, None) for key in _SPECIAL}
        names = {key: str(value) for key, value in own.items() if value is not None}
    else:
        names = {"bos_token": name(encoder.tokenizer.start_id)}
    if family == CLIP:  # nothing behind the end is read, so it may as well fill up a batch
        end = name(encoder.tokenizer.end_id)
        return {**names, "eos_token": end, "pad_token": end}
    return {**names, "pad_token": name(tokenizer.pad_id)}


def write_tokenizer_files(
    folder: Path, tokenizer: WrittenTokenizer, family: str, names: Mapping[str, str | None]
) -> None:
    """`tokenizer.json` and `tokenizer_config.json`, which any version of transformers reads.

    Args:
        folder: an existing folder.
        tokenizer: that pads and cuts when it is asked to.
        family: "clip" or "siglip".
        names: the special tokens.
    """
    tokenizer.tokenizer.save(str(folder / "tokenizer.json"))
    inputs = ["input_ids", "attention_mask"] if family == CLIP else ["input_ids"]
    config = {
        **names,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "processor_class": "CLIPProcessor" if family == CLIP else "SiglipProcessor",
        "model_max_length": tokenizer.length,
        "model_input_names": inputs,
        "padding_side": "right",
        "truncation_side": "right",
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / "tokenizer_config.json", config)


def _processor(encoder: Encoder, family: str, *, squash: bool) -> dict[str, Any]:
    config = encoder.model.description.preprocess_cfg
    height, width = encoder.image_size
    box = {"height": height, "width": width}
    siglip = family == SIGLIP and squash  # SigLIP's own has no crop
    return {
        "image_processor_type": "SiglipImageProcessor" if siglip else "CLIPImageProcessor",
        "processor_class": "CLIPProcessor" if family == CLIP else "SiglipProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": box if squash else {"shortest_edge": height},
        "resample": _RESAMPLE.get(config.get("interpolation"), 3),
        "do_center_crop": not squash,
        **({} if squash else {"crop_size": box}),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(config["mean"]),
        "image_std": list(config["std"]),
    }


def _copy(encoder: HuggingFaceEncoder, folder: Path) -> list[str]:
    """The files of the folder; SigLIP's tokenizer learns to lower-case, as the models need it."""
    assert encoder.path is not None
    for path in sorted(Path(encoder.path).iterdir()):
        if path.is_file() and path.suffix in _COPIED and not path.name.startswith("vlp"):
            shutil.copyfile(path, folder / path.name)
    if encoder.family == CLIP or encoder.tokenizer(["AbC"]) == encoder.tokenizer(["abc"]):
        return []
    tokenizer = write_tokenizer(encoder)
    own = {key: getattr(encoder.tokenizer, key, None) for key in _SPECIAL}
    names = {key: str(value) for key, value in own.items() if value is not None}
    write_tokenizer_files(folder, tokenizer, SIGLIP, names)
    return ["its tokenizer lower-cases; the one that it was made from left that to its caller"]


def _check(encoder: BaseEncoder, folder: Path, notes: list[str]) -> Checked:
    model: Any = AutoModel.from_pretrained(str(folder), local_files_only=True).eval()
    exact: Any = AutoProcessor.from_pretrained(str(folder), local_files_only=True, **_PIL)
    padding = "max_length" if model.config.model_type == SIGLIP else True
    pixels, texts = probe.pixels(encoder), list(probe.TEXTS)
    tokens = exact.tokenizer(texts, padding=padding, truncation=True, return_tensors="pt")
    with torch.no_grad():
        text = _unit(model.get_text_features(**tokens))
        image = _unit(model.get_image_features(pixel_values=_normalised(encoder, pixels)))
    largest = max(
        probe.difference(encoder.encode_image(pixels), image, "image features of transformers"),
        probe.difference(
            encoder.encode_text(texts, report_truncated=False),
            text,
            "text features of transformers",
        ),
    )
    return Checked(largest, _through_processor(encoder, model, folder, exact), notes)


def _normalised(encoder: BaseEncoder, pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(encoder.protocol[name]).view(3, 1, 1) for name in ("mean", "std"))
    return (pixels.float() / 255 - mean) / std


def _unit(found: Any) -> Tensor:  # noqa: ANN401 (transformers 4 gives a tensor, 5 an object)
    return normalize(found if isinstance(found, Tensor) else found.pooler_output, dim=-1)


def _through_processor(encoder: BaseEncoder, model: Any, folder: Path, exact: Any) -> list[str]:  # noqa: ANN401
    """How far features of whole pictures are apart, by either of its image processors."""
    side = encoder.image_size[0]
    alike = probe.pictures(
        [(side, side), (side + 8, side), (side, side + 9), (2 * side + 8, 2 * side)]
    )
    beside = probe.pictures([(side + 3, side), (side, side + 7)])
    default: Any = AutoProcessor.from_pretrained(str(folder), local_files_only=True)

    def apart(pictures: list[Image.Image], processor: Any) -> Tensor:  # noqa: ANN401
        values = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            found = _unit(model.get_image_features(pixel_values=values))
        return (found - encoder.encode_image(pictures)).abs().max()

    largest = apart(alike, exact)
    if largest > probe.MOST:
        raise InputError(f"pictures through its image processor give features {largest:.0e} apart")
    lines = [
        f"whole pictures, its image processor with {_named(_PIL)}: {largest:.0e}; "
        f"its default one, which rounds otherwise: {apart(alike, default):.0e}"
    ]
    if (shifted := apart(beside, exact)) > probe.MOST:
        lines.append(f"where it crops a pixel beside: {shifted:.0e}")
    return lines


def _named(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={json.dumps(value)}" for name, value in options.items())


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' bars, which move for a moment."""
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
