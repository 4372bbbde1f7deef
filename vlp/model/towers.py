"""An open_clip model as a provider of signals: unit features, scale, bias, caption logits."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from vlp.data.texts import unpack
from vlp.model.captioner import Captioner, has_own_decoder
from vlp.model.text import encode_trimmed, text_part, trimmer_of
from vlp.signals import MORE, TEXT_SIGNALS, Signals, as_signals, get

IMAGE, TEXT = "image", "text"  # the towers
MAX_SCALE = 100.0  # Radford et al. 2021, section 2.5
_CAPTION_SIGNALS = frozenset({"caption_logits", "caption_ids"})


@dataclass(frozen=True, kw_only=True)
class Description:
    """What rebuilds and identifies a model; goes into every checkpoint."""

    name: str
    model_cfg: dict[str, Any] = field(repr=False)  # open_clip's
    preprocess_cfg: dict[str, Any]  # open_clip's: size, mean, std, interpolation, resize_mode
    weights: str | None = None  # where the weights came from
    captioner: dict[str, int] | None = None  # `CaptionerConfig`, of a decoder that is not CoCa's

    @property
    def act(self) -> str:
        """The activation: it is no part of the weights, and a wrong one goes unnoticed."""
        return "quick_gelu" if self.model_cfg.get("quick_gelu") else "gelu"

    @property
    def context_length(self) -> int:
        return int(self.model_cfg["text_cfg"].get("context_length", 77))


class DualEncoder(nn.Module):
    """Image and text tower of an open_clip model, with a captioning decoder where there is one.

    Args:
        clip: `open_clip.CLIP`, `CustomTextCLIP` or `CoCa`.
        description: its configuration and preprocessing.
        captioner: a decoder for a model that has none of its own.
        locked: towers that are not trained (Zhai et al. 2022, LiT).
        max_scale: the scale is kept in [1, max_scale] after each step; None for no limit.
    """

    clip: Any  # open_clip ships no types

    def __init__(
        self,
        clip: nn.Module,
        description: Description,
        *,
        captioner: Captioner | None = None,
        locked: Iterable[str] = (),
        max_scale: float | None = MAX_SCALE,
    ) -> None:
        super().__init__()
        self.clip = clip
        self.description = description
        self.captioner = captioner
        self.trimmer = trimmer_of(clip)
        self.max_scale = max_scale
        self.locked = frozenset(locked)
        for tower in self.locked:
            for parameter in self._parameters_of(tower):
                parameter.requires_grad_(False)
        # convolutions are up to twice as fast channels-last; a ViT has one and gains nothing
        self._convolutional = not isinstance(clip.visual, VisionTransformer)
        if self._convolutional:
            clip.visual.to(memory_format=torch.channels_last)
        for name in ("mean", "std"):
            value = torch.tensor(description.preprocess_cfg[name]).view(3, 1, 1)
            self.register_buffer(name, value, persistent=False)

    @property
    def provides(self) -> frozenset[str]:
        """What `forward` can give of pixels and tokens alone."""
        found = {"image", "text", "scale"}
        if getattr(self.clip, "logit_bias", None) is not None:
            found.add("bias")
        return frozenset(found | _CAPTION_SIGNALS if self.captions else found)

    def provides_with(self, data: Iterable[str]) -> frozenset[str]:
        """What it can give where the data also have the masks of further texts."""
        masks = set(data)
        return self.provides | {s for kind, s in TEXT_SIGNALS.items() if f"{kind}_mask" in masks}

    @property
    def captions(self) -> bool:
        """Whether there is a captioning decoder."""
        return self.captioner is not None or has_own_decoder(self.clip)

    def rename(self, name: str) -> None:
        """Give the model the name under which people know it."""
        self.description = replace(self.description, name=name)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the input, in pixels."""
        size = self.description.preprocess_cfg["size"]
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    @property
    def width(self) -> int:
        """D of the features."""
        return int(self.description.model_cfg["embed_dim"])

    @property
    def scale(self) -> Tensor:
        """exp(logit_scale), [], float32."""
        scale: Tensor = self.clip.logit_scale
        return scale.float().exp().squeeze()

    @property
    def bias(self) -> Tensor:
        """logit_bias, [], float32."""
        bias: Tensor = self.clip.logit_bias
        return bias.float().squeeze()

    def encode_image(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] uint8 -> [B, D]."""
        return self.image_tower(pixels)[0]

    def encode_text(self, tokens: Tensor) -> Tensor:
        """[B, L] int64 -> [B, D]. A shorter L than the context length needs a `trimmer`."""
        return self.text_tower(tokens)[0]

    def image_tower(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """[B, 3, H, W] uint8 -> features [B, D], and tokens [B, N, width] if there are any."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        normalised = (pixels.to(mean.dtype) / 255 - mean) / std
        if self._convolutional:
            normalised = normalised.contiguous(memory_format=torch.channels_last)
        found = self.clip.visual(normalised)
        features, tokens = found if isinstance(found, tuple) else (found, None)
        return F.normalize(features.float(), dim=-1), tokens

    def text_tower(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """[B, L] int64 -> features [B, D], and states [B, L, width] if there are any."""
        states: Tensor | None = None
        if self.trimmer is not None:
            features, states = encode_trimmed(self.clip, tokens, self.trimmer)
        elif has_own_decoder(self.clip):
            features, states = self.clip.text(tokens)
        else:
            features = self.clip.encode_text(tokens)
        return F.normalize(features.float(), dim=-1), states

    def decode(self, image_tokens: Tensor, states: Tensor) -> Tensor:
        """Tokens of an image [B, N, .] and states of a text [B, L, .] -> logits [B, L, V]."""
        decoder = self.clip.text_decoder if self.captioner is None else self.captioner
        logits: Tensor = decoder(image_tokens, states)
        return logits

    def forward(self, signals: Signals, wanted: frozenset[str] | None = None) -> Signals:
        """Adds the signals that are wanted; without `wanted` those of pixels and tokens.

        All texts go through the text tower in one call.
        """
        wanted = self.provides if wanted is None else wanted
        tokens = signals["tokens"]
        rows = len(tokens)
        further = "extra_tokens" in signals
        image, image_tokens = self.image_tower(signals["pixels"])
        joined = torch.cat([tokens, signals["extra_tokens"]]) if further else tokens
        text, states = self.text_tower(joined)
        found: dict[str, Tensor] = {"image": image, "text": text[:rows], "scale": self.scale}
        if "bias" in wanted:
            found["bias"] = self.bias
        if further:
            found |= self._further(found["text"], text[rows:], signals)
        if wanted & _CAPTION_SIGNALS:
            assert image_tokens is not None
            assert states is not None
            found["caption_logits"] = self.decode(image_tokens, states[:rows, :-1])
            found["caption_ids"] = tokens[:, 1:]
        return as_signals({**signals, **found})  # type: ignore[dict-item]

    def _further(self, text: Tensor, features: Tensor, signals: Signals) -> dict[str, Tensor]:
        masks = {
            f"{kind}_mask": get(signals, f"{kind}_mask")
            for kind in TEXT_SIGNALS
            if f"{kind}_mask" in signals
        }
        found = unpack(features, signals["extra_place"], masks)
        if MORE in found:
            found[MORE] = torch.cat([text[:, None], found[MORE]], dim=1)  # [B, K, D]
        return {TEXT_SIGNALS[kind]: value for kind, value in found.items()}

    def train(self, mode: bool = True) -> "DualEncoder":
        """Locked towers stay as in evaluation: without dropout, with their batch statistics."""
        super().train(mode)
        if IMAGE in self.locked:
            self.clip.visual.eval()
        if TEXT in self.locked and text_part(self.clip) is not self.clip:
            self.clip.text.eval()
        return self

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep the scale in its limits, without a host synchronisation."""
        if self.max_scale is not None:
            self.clip.logit_scale.clamp_(0.0, math.log(self.max_scale))

    def trim_exactly(self) -> None:
        """Cut texts at the longest of a batch, for no compiled tower: every length is a shape."""
        if self.trimmer is not None:
            self.trimmer = replace(self.trimmer, multiple=1)

    def compile_towers(self) -> None:
        """Compile both towers in place; parameter names stay as they are."""
        self.clip.visual.compile()
        text: Any = text_part(self.clip)
        (text if self.trimmer is None else text.transformer).compile()

    def _parameters_of(self, tower: str) -> list[nn.Parameter]:
        if tower == IMAGE:
            return list(self.clip.visual.parameters())
        text = text_part(self.clip)
        if text is not self.clip:
            return list(text.parameters())
        apart = ("visual.", "logit_scale", "logit_bias")
        return [p for name, p in self.clip.named_parameters() if not name.startswith(apart)]
