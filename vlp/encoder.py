"""A trained model as its users meet it: pictures and strings in, unit vectors out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor

from vlp.checkpoint import Card, published_state, read_card
from vlp.data.transforms import Preprocess
from vlp.model.build import ModelConfig, build_model
from vlp.model.generate import Generation, generate
from vlp.model.tokens import Tokenizer, build_tokenizer
from vlp.model.towers import DualEncoder
from vlp.published import CONFIG_FILE, find_published, fingerprint

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Encoder:
    """Encodes pictures and texts with a `DualEncoder`.

    Args:
        model: the towers, already on their device.
        tokenizer: the tokenizer that belongs to them.
        precision: "fp32", "bf16" or "fp16" (autocast); features are float32 in any case.
        path: where the weights came from.
        fingerprint_of_weights: computed from the weights when not given.
    """

    def __init__(
        self,
        model: DualEncoder,
        tokenizer: Tokenizer,
        *,
        precision: str = "fp32",
        path: str | None = None,
        fingerprint_of_weights: str | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r}: choices are {', '.join(PRECISIONS)}")
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.precision = precision
        self.path = path
        self.preprocess = Preprocess(model.description.preprocess_cfg)
        self.fingerprint = fingerprint_of_weights or fingerprint(
            published_state(model), model.description.model_cfg
        )

    @property
    def device(self) -> torch.device:
        return self.model.get_buffer("mean").device

    @property
    def scale(self) -> Tensor:
        """The trained inverse temperature, []."""
        return self.model.scale.detach()

    @torch.inference_mode()
    def encode_image(self, images: Sequence[Image.Image] | Tensor) -> Tensor:
        """Pictures, or [n, 3, H, W] uint8 as `preprocess` gives them -> [n, D], unit norm."""
        with self._autocast():
            return self.model.encode_image(self._pixels(images))

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts -> [n, D], unit norm; what is longer than the context length is cut."""
        if isinstance(texts, str):
            raise TypeError("encode_text takes a list of strings, not one string")
        tokens = self.tokenizer(list(texts))
        if self.model.trimmer is not None:
            tokens = self.model.trimmer(tokens)
        with self._autocast():
            return self.model.encode_text(tokens.to(self.device))

    @property
    def captions(self) -> bool:
        """Whether the model can write captions."""
        return self.model.captions

    @torch.inference_mode()
    def caption(
        self,
        images: Sequence[Image.Image] | Tensor,
        *,
        method: str = "greedy",
        max_length: int | None = None,
        beams: int = 4,
        top_p: float = 0.9,
        seed: int = 0,
    ) -> list[str]:
        """Write a caption of each picture.

        Args:
            images: pictures, or [n, 3, H, W] uint8 as `preprocess` gives them.
            method: "greedy", "top_p" or "beam".
            max_length: tokens without start and end; at most, and by default, what the context
                holds.
            beams: for "beam".
            top_p: for "top_p", the probability that the sampled tokens hold together.
            seed: for "top_p", 0 or more; picture i draws with seed + i.

        Raises:
            ValueError: the model has no captioning decoder, or an option has no usable value.
        """
        how = Generation(method=method, max_length=max_length, beams=beams, top_p=top_p, seed=seed)
        with self._autocast():
            return generate(self.model, self.tokenizer, self._pixels(images), how)

    def _pixels(self, images: Sequence[Image.Image] | Tensor) -> Tensor:
        if not isinstance(images, Tensor):
            images = torch.stack([self.preprocess(image) for image in images])
        return images.to(self.device)

    def truncated(self, texts: Sequence[str]) -> int:
        """How many of the texts are cut at the context length."""
        texts = list(texts)
        return self.tokenizer.truncated(texts, self.tokenizer(texts)) if texts else 0

    @property
    def protocol(self) -> dict[str, Any]:
        """What decides the features besides the weights."""
        config = self.model.description.preprocess_cfg
        return {
            "image_size": config["size"],
            "interp": config.get("interpolation"),
            "resize_mode": config.get("resize_mode"),
            "mean": list(config["mean"]),
            "std": list(config["std"]),
            "context_length": self.tokenizer.context_length,
            "precision": self.precision,
            "normalize": True,
            "logit_scale": float(self.scale),
        }

    @property
    def description(self) -> dict[str, Any]:
        """Which model this is."""
        return {
            "model": self.model.description.name,
            "pretrained": self.path or self.model.description.weights,
            "path": self.path,
            "sha256": self.fingerprint,
            "act": self.model.description.act,
        }

    def _autocast(self) -> torch.autocast:
        dtype = PRECISIONS[self.precision]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)


def load(
    path_or_name: str | Path,
    device: str | torch.device | None = None,
    precision: str | None = None,
) -> Encoder:
    """Load a model for encoding.

    Args:
        path_or_name: a run, checkpoint or model folder of ours, a folder in open_clip's local-dir
            format (with or without the prefix `local-dir:`), or an open_clip name, with its
            pretrained tag as `NAME/TAG` (`ViT-B-32/openai`).
        device: default the GPU if there is one.
        precision: "fp32" (default), "bf16" or "fp16".

    Raises:
        FileNotFoundError: a folder without a model.
        ValueError: an unknown name, or a folder whose files contradict each other.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    source = str(path_or_name).removeprefix("local-dir:")
    path = Path(source).expanduser()
    card: Card | None = None
    if path.is_dir():
        folder = find_published(path)
        card = read_card(folder)
        name = card.name if card else str(folder)
        model = build_model(ModelConfig(arch=str(folder / CONFIG_FILE), weights=str(folder)))
        tokenizer = build_tokenizer(model.description.model_cfg, source=str(folder))
        description = {"name": name, "path": str(folder)}
    else:
        arch, _, tag = source.partition("/")
        if not tag:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(arch)) or "none"
            raise ValueError(
                f"{source!r} is no folder, and as a model's name it lacks a pretrained tag, "
                f"NAME/TAG; tags of {arch}: {tags}"
            )
        model = build_model(ModelConfig(arch=arch, weights=tag))
        tokenizer = build_tokenizer(model.description.model_cfg)
        description = {"name": arch, "path": source}
    model.rename(description["name"])
    encoder = Encoder(
        model.to(device).eval(), tokenizer, precision=precision or "fp32", path=description["path"]
    )
    if card is not None:
        card.check(encoder.fingerprint)
    return encoder
