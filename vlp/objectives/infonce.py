"""Symmetric InfoNCE: ½ [CE(a·XYᵀ, diagonal) + CE(a·YXᵀ, diagonal)], a = exp(logit_scale).

Radford et al. 2021 (CLIP), fig. 3. Options: label smoothing and the sum of the directions (Jia et
al. 2021, ALIGN); hard captions as further columns of image to text (Yuksekgonul et al. 2023,
NegCLIP); the mean over several captions of a picture (Fan et al. 2023, LaCLIP); truncation to the
hardest negatives and synthetic ones (`rows`, `mixing`); equal captions or pictures as no negatives.
Each rank scores its own rows, so the mean over ranks is the loss of the global batch. `DCL` leaves
the positive out of the denominator, `Sigmoid` has none, `SogCLR` averages it over time.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from vlp.dist import world_size
from vlp.objectives.base import Objective, check_range
from vlp.objectives.mixing import Mixing
from vlp.objectives.rows import (
    DUPLICATE_NEEDS,
    distinct,
    hardest_columns,
    own_columns,
    row_losses,
)
from vlp.ops import sharded_contrastive_loss
from vlp.signals import Signals, of_all


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The less common choices of InfoNCE.

    Args:
        directions: their "mean" (CLIP) or "sum" (ALIGN).
        every_caption: the mean over all drawn captions (`data.texts.captions`).
        hardest: share of each row's negatives that is kept, the highest-scoring ones, in (0, 1].
        mixing: negatives made of the hardest ones.
    """

    directions: Literal["mean", "sum"] = "mean"
    every_caption: bool = False
    hardest: float | None = None
    mixing: Mixing | None = None

    def __post_init__(self) -> None:
        if self.directions not in ("mean", "sum"):
            raise ValueError(f"variant.directions {self.directions!r}: choices are mean, sum")
        if self.hardest is not None and not 0 < self.hardest <= 1:
            raise ValueError(f"variant.hardest must be in (0, 1], got {self.hardest}")


class InfoNCE(Objective):
    """The contrastive loss of CLIP.

    Args:
        weight: factor of the term in the total loss.
        label_smoothing: share of the target spread evenly over the columns, in [0, 1).
        temperature: fixed; without it the model's learned scale is used.
        hard_captions: the hard captions of the global batch are further wrong texts.
        ignore_duplicates: equal captions or equal pictures in a batch are no negatives.
        variant: less common choices.
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        label_smoothing: float = 0.0,
        temperature: float | None = None,
        hard_captions: bool = False,
        ignore_duplicates: bool = False,
        variant: Variant | None = None,
    ) -> None:
        super().__init__(weight=weight)
        check_range("label_smoothing", label_smoothing, 0.0, 1.0)
        if temperature is not None and not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.label_smoothing = label_smoothing
        self.temperature = temperature
        self.hard_captions = hard_captions
        self.ignore_duplicates = ignore_duplicates
        self.variant = variant or Variant()
        if ignore_duplicates and self.variant.every_caption:
            raise ValueError(
                "ignore_duplicates compares the first captions, so it does not go with "
                "variant.every_caption"
            )
        self.factor = 1.0 if self.variant.directions == "sum" else 0.5

    @property
    def needs(self) -> frozenset[str]:
        found = {"image", "text", "all_text", "targets"}
        if self.temperature is None:
            found.add("scale")
        if not self._plain:
            found.add("all_image")
        if self.hard_captions:
            found |= {"all_hard_text", "all_hard_mask"}
        if self.variant.every_caption:
            found |= {"texts", "all_texts"}
        if self.variant.mixing is not None:
            found.add("step")
        if self.ignore_duplicates:
            found |= DUPLICATE_NEEDS
        return frozenset(found)

    @property
    def _plain(self) -> bool:
        """Whether the matrix of similarities is all there is: then it is never held whole."""
        usual = replace(self.variant, directions="mean") == Variant()
        return usual and not self.hard_captions and not self.ignore_duplicates

    def forward(self, signals: Signals) -> Tensor:
        image, text, all_text = signals["image"], signals["text"], signals["all_text"]
        # fewer rows than that are one rank's view of a batch, on its own: the columns must be there
        if self._plain and len(image) * world_size() == len(all_text):
            return (
                self.factor
                * 2
                * sharded_contrastive_loss(
                    image,
                    all_text,
                    self._scale(signals),
                    signals["targets"],
                    label_smoothing=self.label_smoothing,
                )
            )
        pairs = [(text, all_text)]
        if self.variant.every_caption:
            texts, all_texts = signals["texts"], of_all(signals, "texts")
            pairs = list(zip(texts.unbind(1), all_texts.unbind(1), strict=True))
        losses = [self._both(signals, *pair) for pair in pairs]
        return self.factor * torch.stack(losses).mean()

    def _both(self, signals: Signals, text: Tensor, all_text: Tensor) -> Tensor:
        image, all_image = signals["image"], signals["all_image"]
        allowed = distinct(signals) if self.ignore_duplicates else None
        further = further_mask = None
        if self.hard_captions:
            hard, mask = of_all(signals, "hard_text"), of_all(signals, "hard_mask")
            further, further_mask = hard.flatten(0, 1), mask.flatten()  # [G * H, D], [G * H]
        to_text = self._rows(signals, (image, all_text), allowed, (further, further_mask))
        to_image = self._rows(signals, (text, all_image), allowed, (None, None))
        return to_text.mean() + to_image.mean()

    def _rows(
        self,
        signals: Signals,
        sides: tuple[Tensor, Tensor],
        allowed: Tensor | None,
        further: tuple[Tensor | None, Tensor | None],
    ) -> Tensor:
        """The losses of queries [B, D] over keys [G, D] and further wrong keys."""
        (queries, keys), (others, others_mask) = sides, further
        targets, scale = signals["targets"], self._scale(signals)
        logits = queries @ keys.T  # [B, G]
        parts = [logits]
        masks = [torch.ones_like(logits, dtype=torch.bool) if allowed is None else allowed]
        if others is not None and others_mask is not None:
            parts.append(queries @ others.T)
            masks.append(others_mask.expand(len(queries), -1))
        if self.variant.mixing is not None:
            usable = masks[0] & ~own_columns(logits, targets)
            made = self.variant.mixing.logits(queries, keys, (targets, usable), signals["step"])
            parts.append(made.nan_to_num(neginf=0.0))
            masks.append(torch.isfinite(made))
        logits, allowed = scale * torch.cat(parts, 1), torch.cat(masks, 1)
        if self.variant.hardest is not None:
            allowed = hardest_columns(logits, targets, allowed, self.variant.hardest)
        return row_losses(logits, targets, allowed=allowed, smoothing=self.label_smoothing)

    def _scale(self, signals: Signals) -> Tensor:
        if self.temperature is None:
            return signals["scale"]
        return signals["image"].new_full((), 1 / self.temperature)  # filled without a copy
