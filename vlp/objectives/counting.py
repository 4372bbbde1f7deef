"""Counting: −log e^{a·x·y} / (e^{a·x·y} + e^{a·x·y'}), y' the caption with another number.

Paiss et al. 2023 ("Teaching CLIP to Count to Ten", arXiv 2302.12066), over the samples that
have such a caption; a = 1 as published. The wrong number is no negative of InfoNCE: for that see
its `hard_captions`. The variant "all" takes all eight wrong numbers (CountCLIP's L_count+).
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vlp.dist import masked_mean
from vlp.objectives.base import Objective
from vlp.signals import Signals


class Counting(Objective):
    """The counting loss.

    Args:
        weight: factor of the term in the total loss, λ in the paper.
        scale: of the similarities: a number, or "model" for the learned one. With 1, as published,
            the loss of a pair can only move between log(1 + e^±2).
        variant: one wrong number ("binary"), or all eight ("all").
    """

    scope = "sample"

    def __init__(
        self,
        *,
        weight: float = 1.0,
        scale: float | Literal["model"] = 1.0,
        variant: Literal["binary", "all"] = "binary",
    ) -> None:
        super().__init__(weight=weight)
        if scale != "model" and (isinstance(scale, str) or not 0 < scale < math.inf):
            raise ValueError(f"scale must be positive or 'model', got {scale!r}")
        if variant not in ("binary", "all"):
            raise ValueError(f"variant {variant!r}: choices are binary, all")
        self.scale = scale
        self.variant = variant

    @property
    def needs(self) -> frozenset[str]:
        wrong = ("counter_text", "counter_mask")
        if self.variant == "all":
            wrong = ("number_text", "number_mask")
        return frozenset({"image", "text", *wrong, *(("scale",) if self.scale == "model" else ())})

    def forward(self, signals: Signals) -> Tensor:
        image = signals["image"]
        scale = signals["scale"] if self.scale == "model" else self.scale
        right = scale * (image * signals["text"]).sum(1)  # [B]
        if self.variant == "binary":
            wrong = scale * (image * signals["counter_text"]).sum(1)  # [B]
            return masked_mean(F.softplus(wrong - right), self._mask(signals))
        others = scale * torch.einsum("bd,bnd->bn", image, signals["number_text"])  # [B, 8]
        every = torch.cat([right[:, None], others], dim=1)
        return masked_mean(every.logsumexp(1) - right, self._mask(signals))

    def items(self, signals: Signals) -> Tensor:
        return self._mask(signals).sum()

    def _mask(self, signals: Signals) -> Tensor:
        if self.variant == "binary":
            return signals["counter_mask"].bool()
        return signals["number_mask"].bool().all(1)
