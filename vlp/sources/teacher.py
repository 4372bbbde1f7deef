"""A trained model as teacher: its features of the same pictures and captions, without gradient."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp.signals import Signals, as_signals


class Towers(Protocol):
    """The part of `vlp.model.DualEncoder` that is used here."""

    @property
    def image_size(self) -> tuple[int, int]: ...
    @property
    def trimmer(self) -> Any: ...  # noqa: ANN401 (only whether there is one)

    def encode_image(self, pixels: Tensor) -> Tensor: ...
    def encode_text(self, tokens: Tensor) -> Tensor: ...


class Teacher(nn.Module):
    """Adds `NAME_image` and `NAME_text`.

    The teacher is no submodule: it is not trained, so it is neither wrapped nor checkpointed.

    Args:
        name: of the signals.
        model: frozen, in evaluation mode, on the device.
        context_length: its number of tokens, for a teacher whose texts cannot be cut.
        pad_id: what its tokenizer, which is also the student's, fills texts up with.
        autocast: context for its towers.
        fingerprint: of its weights.
    """

    scope: Literal["sample"] = "sample"
    needs = frozenset({"pixels", "tokens"})

    def __init__(
        self,
        name: str,
        model: Towers,
        *,
        context_length: int,
        pad_id: int,
        autocast: Callable[[], AbstractContextManager[object]],
        fingerprint: str = "",
    ) -> None:
        super().__init__()
        self.name = name
        self._model = [model]  # in a list, so that it does not become a submodule
        self.context_length = context_length
        self.pad_id = pad_id
        self.autocast = autocast
        self.fingerprint = fingerprint

    @property
    def provides(self) -> frozenset[str]:
        return frozenset({f"{self.name}_image", f"{self.name}_text"})

    @torch.no_grad()
    def forward(self, signals: Signals) -> Signals:
        (model,) = self._model
        tokens = signals["tokens"]
        missing = self.context_length - tokens.shape[1]
        if model.trimmer is None and missing:
            tokens = F.pad(tokens, (0, missing), value=self.pad_id)
        with self.autocast():
            image = model.encode_image(resized(signals["pixels"], model.image_size))
            text = model.encode_text(tokens)
        found = {f"{self.name}_image": image, f"{self.name}_text": text}
        return as_signals({**signals, **found})  # type: ignore[dict-item]


def resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, 3, H, W] uint8 at another size, antialiased; as it is where the size is right."""
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    scaled = F.interpolate(pixels.float(), size, mode="bicubic", antialias=True)
    return scaled.round().clamp(0, 255).byte()
