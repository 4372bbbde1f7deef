"""An open_clip model as a provider of signals: unit-norm float32 features and the scale."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from vlp.model.text import encode_trimmed, trimmer_of
from vlp.signals import Signals

MAX_LOGIT_SCALE = math.log(100.0)  # Radford et al. 2021, section 2.5


@dataclass(frozen=True, kw_only=True)
class Description:
    """What rebuilds and identifies a model; goes into every checkpoint."""

    name: str
    model_cfg: dict[str, Any] = field(repr=False)  # open_clip's
    preprocess_cfg: dict[str, Any]  # open_clip's: size, mean, std, interpolation, resize_mode
    weights: str | None = None  # where the weights came from

    @property
    def act(self) -> str:
        """The activation: it is no part of the weights, and a wrong one goes unnoticed."""
        return "quick_gelu" if self.model_cfg.get("quick_gelu") else "gelu"

    @property
    def context_length(self) -> int:
        return int(self.model_cfg["text_cfg"].get("context_length", 77))


class DualEncoder(nn.Module):
    """Image and text tower of an open_clip model.

    Args:
        clip: `open_clip.CLIP` or `CustomTextCLIP`.
        description: its configuration and preprocessing.
    """

    provides = frozenset({"image", "text", "scale"})
    clip: Any  # open_clip ships no types

    def __init__(self, clip: nn.Module, description: Description) -> None:
        super().__init__()
        self.clip = clip
        self.description = description
        self.trimmer = trimmer_of(clip)
        # convolutions are up to twice as fast channels-last; a ViT has one and gains nothing
        self._convolutional = not isinstance(clip.visual, VisionTransformer)
        if self._convolutional:
            clip.visual.to(memory_format=torch.channels_last)
        for name in ("mean", "std"):
            value = torch.tensor(description.preprocess_cfg[name]).view(3, 1, 1)
            self.register_buffer(name, value, persistent=False)

    def rename(self, name: str) -> None:
        """Give the model the name under which people know it."""
        self.description = replace(self.description, name=name)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the input, in pixels."""
        size = self.description.preprocess_cfg["size"]
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    @property
    def scale(self) -> Tensor:
        """exp(logit_scale), [], float32."""
        scale: Tensor = self.clip.logit_scale
        return scale.float().exp().squeeze()

    def encode_image(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] uint8 -> [B, D]."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        normalised = (pixels.to(mean.dtype) / 255 - mean) / std
        if self._convolutional:
            normalised = normalised.contiguous(memory_format=torch.channels_last)
        return F.normalize(self.clip.encode_image(normalised).float(), dim=-1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """[B, L] int64 -> [B, D]. A shorter L than the context length needs a `trimmer`."""
        if self.trimmer is None:
            features = self.clip.encode_text(tokens)
        else:
            features = encode_trimmed(self.clip, tokens, self.trimmer)
        return F.normalize(features.float(), dim=-1)

    def forward(self, signals: Signals) -> Signals:
        """Adds `image`, `text` and `scale`."""
        return {
            **signals,
            "image": self.encode_image(signals["pixels"]),
            "text": self.encode_text(signals["tokens"]),
            "scale": self.scale,
        }

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep the scale at most 100, without a host synchronisation."""
        self.clip.logit_scale.clamp_(0.0, MAX_LOGIT_SCALE)

    def compile_towers(self) -> None:
        """Compile both towers in place; parameter names stay as they are."""
        self.clip.visual.compile()
        text = getattr(self.clip, "text", self.clip)  # both classes name the parts alike
        (text if self.trimmer is None else text.transformer).compile()
