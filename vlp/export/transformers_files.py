"""The files beside a model of transformers: tokenizer, image processor; for any version of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlp.data.files import write_json
from vlp.encoder import Encoder
from vlp.export.tokenizer_json import WrittenTokenizer
from vlp.interop.huggingface import CLIP, SIGLIP

SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")
_PROCESSORS = {CLIP: "CLIPProcessor", SIGLIP: "SiglipProcessor"}
_BILINEAR, _BICUBIC = 2, 3  # Pillow's numbers


def write_tokenizer_files(
    folder: Path, tokenizer: WrittenTokenizer, family: str, names: Mapping[str, str]
) -> None:
    """`tokenizer.json` and `tokenizer_config.json`.

    Args:
        folder: an existing folder.
        tokenizer: that pads and cuts when it is asked to.
        family: "clip" or "siglip".
        names: the special tokens.
    """
    tokenizer.tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        **names,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "processor_class": _PROCESSORS[family],
        "model_max_length": tokenizer.length,
        # SigLIP reads its padding
        "model_input_names": ["input_ids", *(["attention_mask"] if family == CLIP else [])],
        "padding_side": "right",
        "truncation_side": "right",
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / "tokenizer_config.json", config)


def special_tokens(encoder: Encoder, tokenizer: WrittenTokenizer, family: str) -> dict[str, str]:
    """The special tokens by transformers' names for them."""
    inner = getattr(encoder.tokenizer.tokenizer, "tokenizer", None)
    start = {} if inner is not None else {"bos_token": tokenizer.token(encoder.tokenizer.start_id)}
    found = {**named(inner), **start}
    if family == CLIP:  # nothing behind the end is read, so it may as well fill up a batch
        end = tokenizer.token(encoder.tokenizer.end_id)
        return {**found, "eos_token": end, "pad_token": end}
    return {**found, "pad_token": tokenizer.token(tokenizer.pad_id)}


def named(tokenizer: Any) -> dict[str, str]:  # noqa: ANN401 (of transformers)
    """The special tokens that a tokenizer of transformers has; none of anything else."""
    found = {key: getattr(tokenizer, key, None) for key in SPECIAL}
    return {key: str(value) for key, value in found.items() if value is not None}


def picture_obstacles(config: Mapping[str, Any]) -> list[str]:
    """What of open_clip's preprocessing its image processors cannot express."""
    size = config["size"]
    found = []
    if config.get("resize_mode") == "longest":
        found.append("resize_mode 'longest'")
    if not isinstance(size, int) and size[0] != size[1]:
        found.append(f"pictures of {size[0]} x {size[1]} pixels")
    return found


def squashes(encoder: Encoder) -> bool:
    """Whether pictures are resized to a square without a crop."""
    return encoder.model.description.preprocess_cfg.get("resize_mode") == "squash"


def write_image_processor(folder: Path, encoder: Encoder, family: str) -> None:
    """`preprocessor_config.json`; there are no obstacles."""
    config = encoder.model.description.preprocess_cfg
    height, width = encoder.image_size
    box = {"height": height, "width": width}
    squash = squashes(encoder)
    own = family == SIGLIP and squash  # SigLIP's own processor has no crop
    content = {
        "image_processor_type": "SiglipImageProcessor" if own else "CLIPImageProcessor",
        "processor_class": _PROCESSORS[family],
        "do_convert_rgb": True,
        "do_resize": True,
        "size": box if squash else {"shortest_edge": height},
        "resample": _BILINEAR if config.get("interpolation") == "bilinear" else _BICUBIC,
        "do_center_crop": not squash,
        **({} if squash else {"crop_size": box}),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(config["mean"]),
        "image_std": list(config["std"]),
    }
    write_json(folder / "preprocessor_config.json", content)
