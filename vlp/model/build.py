"""A model from an open_clip name or a JSON file, with weights from wherever they are."""

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
from open_clip.factory import get_model_config
from torch import nn

from vlp.model.towers import Description, DualEncoder
from vlp.model.weights import load_weights
from vlp.published import CARD_FILE, CONFIG_FILE, find_published

log = logging.getLogger(__name__)
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which towers, and where their weights come from."""

    arch: str = "ViT-B-32"  # an open_clip model name, or a JSON file in open_clip's format
    weights: str | None = None  # a checkpoint, an open_clip pretrained tag, a folder or a file
    image_size: int | None = None  # pixels; position embeddings are resized
    context_length: int | None = None  # tokens


def build_model(config: ModelConfig) -> DualEncoder:
    """Build the towers and load their weights. Seed before: weights are drawn here.

    Raises:
        ValueError: unknown name, bad JSON, a model that is no plain dual encoder, or weights that
            do not fit.
    """
    model_cfg, preprocess_cfg = read_arch(config.arch)
    tag = open_clip.get_pretrained_cfg(config.arch.replace("/", "-"), config.weights or "")
    for source in (tag, preprocessing_of(config.weights)):
        preprocess_cfg |= {key: source[key] for key in PREPROCESSING if key in source}
    if tag:  # the activation belongs to the weights: with the other one every feature is wrong
        model_cfg["quick_gelu"] = bool(tag.get("quick_gelu", False))
    clip, model_cfg, preprocess_cfg = instantiate(model_cfg, preprocess_cfg, config)
    description = Description(
        name=config.arch,
        model_cfg=model_cfg,
        preprocess_cfg=preprocess_cfg,
        weights=config.weights,
    )
    model = DualEncoder(clip, description)
    if config.weights is not None:
        check_activation(config.weights, description.act)
        load_weights(model.clip, config.arch, config.weights)
    return model


def read_arch(arch: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(model_cfg, preprocess_cfg) of an open_clip name or of a JSON file.

    The file holds a model configuration, or `{"model_cfg": ..., "preprocess_cfg": ...}` as
    open_clip saves it.
    """
    if not arch.endswith(".json"):
        model_cfg = get_model_config(arch.replace("/", "-"))
        if model_cfg is None:
            raise ValueError(
                f"model.arch {arch!r} is no open_clip model and no .json file; "
                f"choices: {', '.join(open_clip.list_models())}"
            )
        return model_cfg, {}
    try:
        content = json.loads(Path(arch).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"model.arch: there is no file {arch}") from None
    except ValueError as error:
        raise ValueError(f"model.arch: {arch} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"model.arch: {arch} is no JSON object")
    model_cfg = content.get("model_cfg", content)
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - model_cfg.keys()
    if missing:
        raise ValueError(f"model.arch: {arch} lacks {', '.join(sorted(missing))}")
    return model_cfg, content.get("preprocess_cfg", {})


def preprocessing_of(weights: str | None) -> dict[str, Any]:
    """What a model folder says of the pictures that its weights expect; empty for anything else."""
    if weights is None or not Path(weights).expanduser().is_dir():
        return {}
    path = find_published(Path(weights).expanduser()) / CONFIG_FILE
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")).get("preprocess_cfg", {})
    return found


def check_activation(weights: str, act: str) -> None:
    """Refuse weights of a published model that were trained with another activation.

    Raises:
        ValueError: the configuration has another one than the model's card.
    """
    if not Path(weights).expanduser().is_dir():
        return
    card = find_published(Path(weights).expanduser()) / CARD_FILE
    if card.is_file():
        trained = json.loads(card.read_text(encoding="utf-8")).get("act")
        if trained != act:
            raise ValueError(
                f"model.weights {weights} was trained with {trained}, but model.arch has {act}: "
                "every feature would be wrong"
            )


@contextmanager
def _without_open_clips_log() -> Iterator[None]:
    """open_clip logs on the root logger, and warns of missing weights that nobody asked for."""

    def foreign(record: logging.LogRecord) -> bool:
        return "open_clip" not in record.pathname

    root = logging.getLogger()
    root.addFilter(foreign)
    try:
        yield
    finally:
        root.removeFilter(foreign)


def instantiate(
    model_cfg: dict[str, Any],
    preprocess_cfg: dict[str, Any],
    config: ModelConfig,
) -> tuple[nn.Module, dict[str, Any], dict[str, Any]]:
    """(model with fresh weights, resolved model_cfg, resolved preprocess_cfg).

    open_clip itself chooses the class and reads the options: it is handed the configuration as a
    local folder, the one public way in that does not register a name for the whole process.
    """
    if "multimodal_cfg" in model_cfg:
        raise ValueError(
            f"model.arch {config.arch!r} has a captioning decoder, which no objective trains; "
            "choose a plain dual encoder"
        )
    resolved = json.loads(json.dumps(model_cfg))
    if config.image_size is not None:
        resolved["vision_cfg"]["image_size"] = config.image_size
    if config.context_length is not None:
        resolved["text_cfg"]["context_length"] = config.context_length
    with tempfile.TemporaryDirectory() as folder:
        content = {"model_cfg": resolved, "preprocess_cfg": preprocess_cfg}
        Path(folder, CONFIG_FILE).write_text(json.dumps(content), encoding="utf-8")
        try:
            with _without_open_clips_log():
                clip = open_clip.create_model(
                    f"local-dir:{folder}", load_weights=False, force_image_size=config.image_size
                )
        except (TypeError, RuntimeError, AssertionError, AttributeError) as error:
            raise ValueError(f"model.arch {config.arch!r} cannot be built: {error}") from error
    return clip, resolved, dict(open_clip.get_model_preprocess_cfg(clip))
