"""A momentum encoder: a copy of the model that follows it, θ' ← m·θ' + (1 − m)·θ.

He et al. 2020 (MoCo), eq. 2. Its features have no gradient; whatever takes a teacher takes it.
"""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import nn

from vlp.signals import Signals, as_signals


class Momentum(nn.Module):
    """Adds `NAME_image` and `NAME_text`. The copy is part of the run's state.

    Args:
        name: of the signals.
        model: the model that is trained.
        decay: m, in [0, 1).
        autocast: context for its towers.
    """

    scope: Literal["sample"] = "sample"
    needs = frozenset({"pixels", "tokens"})

    def __init__(
        self,
        name: str,
        model: nn.Module,
        *,
        decay: float,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        super().__init__()
        self.name = name
        self.decay = decay
        self.autocast = autocast
        self.model: Any = copy.deepcopy(model)
        self.model.requires_grad_(False)
        self.model.eval()

    @property
    def provides(self) -> frozenset[str]:
        return frozenset({f"{self.name}_image", f"{self.name}_text"})

    def train(self, mode: bool = True) -> "Momentum":
        """The copy stays without dropout."""
        super().train(mode)
        self.model.eval()
        return self

    @torch.no_grad()
    def forward(self, signals: Signals) -> Signals:
        with self.autocast():
            image = self.model.encode_image(signals["pixels"])
            text = self.model.encode_text(signals["tokens"])
        found = {f"{self.name}_image": image, f"{self.name}_text": text}
        return as_signals({**signals, **found})  # type: ignore[dict-item]

    @torch.no_grad()
    def after_step(self, model: nn.Module) -> None:
        """Follow the model by one step; its running statistics are taken as they are."""
        own, theirs = list(self.model.parameters()), list(model.parameters())
        torch._foreach_lerp_(own, [p.detach() for p in theirs], 1 - self.decay)
        for buffer, trained in zip(self.model.buffers(), model.buffers(), strict=True):
            buffer.copy_(trained)
