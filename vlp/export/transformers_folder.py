"""A folder for transformers: `AutoModel`, `AutoProcessor`, pipelines.

The tokenizer's file holds open_clip's cleaning of texts, so no step is needed before it. Pictures
go through CLIPImageProcessor or SiglipImageProcessor, which differ from torchvision, with which
open_clip prepares them, in how they round and in where they crop.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import CLIPModel, SiglipModel

from vlp.data.files import write_json
from vlp.encoder import BaseEncoder, Encoder
from vlp.errors import InputError
from vlp.export import cleaning
from vlp.export.clip_model import clip_obstacles, to_clip
from vlp.export.encoders import logit_bias
from vlp.export.probe import Checked
from vlp.export.sharing import without_folders
from vlp.export.siglip_model import siglip_obstacles, to_siglip
from vlp.export.tokenizer_json import write_tokenizer
from vlp.export.transformers_check import check_folder, quiet
from vlp.export.transformers_files import (
    named,
    picture_obstacles,
    special_tokens,
    squashes,
    write_image_processor,
    write_tokenizer_files,
)
from vlp.interop.huggingface import CLIP, CONFIG_FILE, SIGLIP, HuggingFaceEncoder

_PIPELINE = 64  # tokens
_DTYPES = ("dtype", "torch_dtype")  # by transformers 5 and 4
_COPIED = (".json", ".safetensors", ".txt", ".model")
ROUNDS = (
    "its image processor resizes with other roundings than in training, unless it is loaded with "
    'backend="pil" (transformers 4: use_fast=False)'
)
CROPS = (
    "its image processor crops one pixel beside the place of training where the longer side "
    "loses 3, 7, 11, ... pixels"
)


def write_transformers(encoder: BaseEncoder, folder: Path) -> Checked:
    """Fill a folder, then load it as its users will.

    Raises:
        InputError: transformers has no model of this kind; nothing has been written.
        RunError: what was written gives other features.
    """
    with quiet():
        if isinstance(encoder, HuggingFaceEncoder):
            notes = _copy(encoder, folder)
        else:
            assert isinstance(encoder, Encoder)
            notes = _write(encoder, folder)
        largest, lines = check_folder(encoder, folder)
    return Checked(largest, lines, notes)


def family_of(encoder: Encoder, highest_id: int) -> str:
    """Which of its models transformers has for towers of open_clip: "clip" or "siglip".

    Args:
        encoder: with these towers.
        highest_id: of its tokenizer.

    Raises:
        InputError: none; the message says why.
    """
    clip = clip_obstacles(encoder.model, _end_id(encoder), highest_id)
    siglip = siglip_obstacles(encoder.model)
    pictures = picture_obstacles(encoder.model.description.preprocess_cfg)
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


def _write(encoder: Encoder, folder: Path) -> list[str]:
    tokenizer = write_tokenizer(encoder)
    family = family_of(encoder, tokenizer.tokenizer.get_vocab_size() - 1)
    model: Any
    if family == CLIP:
        clip_config, state = to_clip(encoder, encoder.tokenizer.end_id)
        model = CLIPModel(clip_config)
    else:
        siglip_config, state = to_siglip(encoder, tokenizer.pad_id)
        model = SiglipModel(siglip_config)
    model.load_state_dict(state)
    model.eval().save_pretrained(str(folder))
    names = special_tokens(encoder, tokenizer, family)
    write_tokenizer_files(folder, tokenizer, family, names)
    write_image_processor(folder, encoder, family)
    return _notes(encoder, family)


def _notes(encoder: Encoder, family: str) -> list[str]:
    notes = [cleaning.LEFT_OUT, ROUNDS, *([] if squashes(encoder) else [CROPS])]
    bias = logit_bias(encoder)
    if family == CLIP and bias is not None:
        notes.append(f"CLIPModel has no logit bias, and this model was trained with one: {bias:g}")
    if family == SIGLIP and encoder.context_length != _PIPELINE:
        notes.append(
            f"transformers' pipelines pad texts of SigLIP to {_PIPELINE} tokens, and this model "
            f"reads {encoder.context_length}: use model and processor themselves"
        )
    if family == SIGLIP and not squashes(encoder):
        notes.append("SiglipProcessor of transformers 4 cannot crop; that of transformers 5 can")
    if encoder.captions:
        notes.append("the captioning decoder is left out")
    return notes


def _copy(encoder: HuggingFaceEncoder, folder: Path) -> list[str]:
    """The files of the folder; SigLIP's tokenizer learns to lower-case, as the models need it."""
    assert encoder.path is not None
    trained = encoder.model.config.vision_config.image_size
    if encoder.image_size != (trained, trained):
        raise InputError(
            f"its image processor gives pictures of {encoder.image_size}, and the model reads "
            f"{trained}: transformers itself refuses them. Formats that can: onnx"
        )
    for path in sorted(Path(encoder.path).iterdir()):
        if path.is_file() and path.suffix in _COPIED and not path.name.startswith("vlp"):
            shutil.copyfile(path, folder / path.name)
    notes = _load_as_float32(folder)
    ids = [encoder.tokenizer([text])["input_ids"] for text in ("A PHOTO", "a photo")]
    if encoder.family == CLIP or ids[0] == ids[1]:
        return notes
    write_tokenizer_files(folder, write_tokenizer(encoder), SIGLIP, named(encoder.tokenizer))
    return [*notes, "its tokenizer lower-cases; that of the model's folder leaves it to its caller"]


def _load_as_float32(folder: Path) -> list[str]:
    """Have transformers 5 compute as we do, where it would in the half precision of the file."""
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    parts = [config, *(config[name] for name in ("text_config", "vision_config") if name in config)]
    found = {part.pop(name, None) for part in parts for name in _DTYPES} - {None, "float32"}
    write_json(folder / CONFIG_FILE, without_folders({**config, "dtype": "float32"}))
    if not found:
        return []
    return [f"its weights, stored as {', '.join(sorted(found))}, are loaded as float32"]
