"""A model from an open_clip name or a JSON file, with weights from wherever they are."""

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeGuard

import open_clip
from open_clip.factory import get_model_config
from torch import nn

from vlp.model.captioner import (
    Captioner,
    CaptionerConfig,
    has_own_decoder,
    initialise_projection,
)
from vlp.model.towers import MAX_SCALE, Description, DualEncoder
from vlp.model.weights import load_captioner, load_weights
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
    init_logit_scale: float | None = None  # ln of the first inverse temperature; ln(1 / 0.07)
    init_logit_bias: float | None = None  # gives the model a bias, e.g. -10 for Sigmoid
    max_scale: float | None = MAX_SCALE  # of the inverse temperature; null for no limit
    lock: list[Literal["image", "text"]] = field(default_factory=list)  # towers left untrained
    captioner: CaptionerConfig | None = None  # a decoder on a model that has none

    def __post_init__(self) -> None:
        if self.max_scale is not None and self.max_scale <= 1:
            raise ValueError(f"model.max_scale must be above 1 or null, got {self.max_scale}")
        if len(set(self.lock)) == 2 and self.captioner is None:
            raise ValueError("model.lock: with both towers locked there is nothing to train")


def build_model(config: ModelConfig, *, strict: bool = False) -> DualEncoder:
    """Build the towers and load their weights. Seed before: weights are drawn here.

    Args:
        config: which towers and weights.
        strict: refuse weights that leave a tensor at its fresh value.

    Raises:
        ValueError: unknown name, bad JSON, a model that is no plain dual encoder, or weights that
            do not fit.
    """
    model_cfg, of_arch = read_arch(config.arch)
    tag = open_clip.get_pretrained_cfg(config.arch.replace("/", "-"), config.weights or "")
    stated = {**tag, **preprocessing_of(config.weights)}
    of_weights = {key: stated[key] for key in PREPROCESSING if key in stated}
    if tag:  # the activation belongs to the weights: with the other one every feature is wrong
        model_cfg["quick_gelu"] = bool(tag.get("quick_gelu", False))
    card = published_card(config.weights)
    clip, model_cfg, preprocess_cfg = instantiate(model_cfg, {**of_arch, **of_weights}, config)
    warn_of_preprocessing(config, of_arch, of_weights, preprocess_cfg)
    head = find_captioner(config, card)
    description = Description(
        name=config.arch,
        model_cfg=model_cfg,
        preprocess_cfg=preprocess_cfg,
        weights=config.weights,
        captioner=None if head is None else asdict(head),
    )
    if head is not None and has_own_decoder(clip):
        raise ValueError(f"model.captioner: {config.arch} has a decoder of its own")
    model = DualEncoder(
        clip,
        description,
        captioner=None if head is None else Captioner(clip, head),
        locked=config.lock,
        max_scale=config.max_scale,
    )
    if config.weights is not None:
        check_activation(config.weights, card, description)
        load_weights(model.clip, config.arch, config.weights, strict=strict)
        if model.captioner is not None and card.get("captioner"):
            load_captioner(model.captioner, config.weights)
    return model


def find_captioner(config: ModelConfig, card: Mapping[str, Any]) -> CaptionerConfig | None:
    """The decoder that is asked for, or that the weights bring.

    Raises:
        ValueError: the weights bring another one.
    """
    stored = CaptionerConfig(**card["captioner"]) if card.get("captioner") else None
    if config.captioner is not None and stored not in (None, config.captioner):
        raise ValueError(
            f"model.captioner {config.captioner} is not that of model.weights: {stored}"
        )
    return config.captioner or stored


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
    found: dict[str, Any] = published_config(weights).get("preprocess_cfg", {})
    return found


def published_config(weights: str | None) -> dict[str, Any]:
    """The configuration of a published model's folder; empty for anything else."""
    if not is_folder(weights):
        return {}
    path = find_published(Path(weights).expanduser()) / CONFIG_FILE
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def published_card(weights: str | None) -> dict[str, Any]:
    """The card of a published model's folder; empty for anything else."""
    if not is_folder(weights):
        return {}
    path = find_published(Path(weights).expanduser()) / CARD_FILE
    if not path.is_file():
        return {}
    card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return card


def is_folder(weights: str | None) -> TypeGuard[str]:
    """Whether weights are a folder, rather than a file, a tag or fresh."""
    return weights is not None and Path(weights).expanduser().is_dir()


def says_activation(model_cfg: Mapping[str, Any]) -> bool:
    """Whether a configuration settles the activation of its towers.

    open_clip leaves `quick_gelu` out where it is false, so without it nobody knows whether it was
    thought of. Towers of timm and transformers have activations of their own, and none of them
    began as OpenAI's.
    """
    vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    foreign = "timm_model_name" in vision or "hf_model_name" in text
    return foreign or "quick_gelu" in model_cfg


def stated_activation(weights: str, card: Mapping[str, Any]) -> str | None:
    """The activation with which a model's folder says that it was trained; None if it does not.

    Its card is asked first, then its configuration.
    """
    if "act" in card:
        return str(card["act"])
    config = published_config(weights)
    model_cfg = config.get("model_cfg", config)
    if "quick_gelu" not in model_cfg:
        return None
    return Description(name=weights, model_cfg=model_cfg, preprocess_cfg={}).act


def check_activation(weights: str, card: Mapping[str, Any], model: Description) -> None:
    """Refuse weights that were trained with another activation; warn where nobody says with which.

    Args:
        weights: a tag, a folder or a file.
        card: of the folder, if it is one with a card.
        model: that they are loaded into.

    Raises:
        ValueError: the model has another activation.
    """
    trained = stated_activation(weights, card)
    if trained not in (None, model.act):
        raise ValueError(
            f"model.weights {weights} was trained with {trained}, but model.arch has {model.act}: "
            "every feature would be wrong"
        )
    there = Path(weights).expanduser().exists()
    if there and trained is None and not says_activation(model.model_cfg):
        log.warning(
            "%s does not say with which activation it was trained; the configuration gives GELU: "
            "if it was fine-tuned from OpenAI's weights, it needs quick_gelu: true",
            weights,
        )


def warn_of_preprocessing(
    config: ModelConfig,
    of_arch: Mapping[str, Any],
    of_weights: Mapping[str, Any],
    resolved: Mapping[str, Any],
) -> None:
    """Say where architecture and weights want other pictures, or where neither says which.

    Args:
        config: names both.
        of_arch: preprocess_cfg of the architecture's file.
        of_weights: that of the model folder or of the pretrained tag.
        resolved: what is used: that of the weights, else of the architecture, else a default.
    """
    for key in of_arch.keys() & of_weights.keys():
        if of_arch[key] != of_weights[key]:
            log.warning(
                "model.arch %s has %s %s, but model.weights %s has %s, which is used",
                *(config.arch, key, of_arch[key], config.weights, of_weights[key]),
            )
    missing = [key for key in ("mean", "std") if key not in {**of_arch, **of_weights}]
    if missing and is_folder(config.weights):
        log.warning(
            "%s: its preprocess_cfg has no %s: open_clip's defaults are assumed: %s",
            config.weights,
            " and no ".join(missing),
            ", ".join(f"{key} {list(resolved[key])}" for key in missing),
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
    device: str = "cpu",
) -> tuple[nn.Module, dict[str, Any], dict[str, Any]]:
    """(model with fresh weights, resolved model_cfg, resolved preprocess_cfg).

    open_clip itself chooses the class and reads the options: it is handed the configuration as a
    local folder, the one public way in that does not register a name for the whole process.
    """
    resolved = json.loads(json.dumps(model_cfg))
    if config.image_size is not None:
        resolved["vision_cfg"]["image_size"] = config.image_size
    if config.context_length is not None:
        for part in {"text_cfg", "multimodal_cfg"} & resolved.keys():
            resolved[part]["context_length"] = config.context_length
    for name in ("init_logit_scale", "init_logit_bias"):
        if getattr(config, name) is not None:
            resolved[name] = getattr(config, name)
    with tempfile.TemporaryDirectory() as folder:
        content = {"model_cfg": resolved, "preprocess_cfg": preprocess_cfg}
        Path(folder, CONFIG_FILE).write_text(json.dumps(content), encoding="utf-8")
        try:
            with _without_open_clips_log():
                clip = open_clip.create_model(
                    f"local-dir:{folder}",
                    load_weights=False,
                    force_image_size=config.image_size,
                    device=device,
                )
        except (TypeError, RuntimeError, AssertionError, AttributeError) as error:
            raise ValueError(f"model.arch {config.arch!r} cannot be built: {error}") from error
    if has_own_decoder(clip):
        initialise_projection(clip.text_decoder)
    return clip, resolved, dict(open_clip.get_model_preprocess_cfg(clip))
