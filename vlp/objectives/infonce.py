"""Symmetric InfoNCE: ½ [CE(a·XYᵀ, diagonal) + CE(a·YXᵀ, diagonal)], a = exp(logit_scale).

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision",
fig. 3; with label smoothing as in Jia et al. 2021 (ALIGN). Each rank scores its own rows against
the features of all ranks, so the mean over ranks is the loss of the global batch.
"""

import torch.nn.functional as F
from torch import Tensor

from vlp.objectives.base import Objective
from vlp.signals import Signals


class InfoNCE(Objective):
    """The contrastive loss of CLIP.

    Args:
        weight: factor of the term in the total loss.
        label_smoothing: share of the target spread evenly over the global batch, in [0, 1).
    """

    def __init__(self, *, weight: float = 1.0, label_smoothing: float = 0.0) -> None:
        super().__init__(weight=weight)
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        self.label_smoothing = label_smoothing

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"image", "text", "all_image", "all_text", "targets", "scale"})

    def forward(self, signals: Signals) -> Tensor:
        scale, targets = signals["scale"], signals["targets"]
        image_to_text = scale * signals["image"] @ signals["all_text"].T  # [B, G]
        text_to_image = scale * signals["text"] @ signals["all_image"].T  # [B, G]
        return 0.5 * (self._rows(image_to_text, targets) + self._rows(text_to_image, targets))

    def _rows(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
