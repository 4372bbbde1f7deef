"""DCL: −w_i·a·s_ii + log Σ_{j≠i} exp(a·s_ij), both directions: InfoNCE without the positive below.

Yeh et al. 2022 ("Decoupled Contrastive Learning") and, with `sigma`, the weight
w_i = 2 − G·softmax_i(s_ii/σ) of DCLW. Without the positive in the denominator the gradient
does not vanish for easy positives, which helps at small batches. The value may be negative.
"""

import math

import torch
from torch import Tensor

from vlp.objectives.base import Objective
from vlp.objectives.rows import own_columns
from vlp.signals import Signals


class DCL(Objective):
    """The decoupled contrastive loss.

    Args:
        weight: factor of the term in the total loss.
        sigma: width of the weights of DCLW, 0.5 in the paper; without it every pair counts alike.
    """

    def __init__(self, *, weight: float = 1.0, sigma: float | None = None) -> None:
        super().__init__(weight=weight)
        if sigma is not None and not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}")
        self.sigma = sigma

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"image", "text", "all_image", "all_text", "targets", "scale"})

    def forward(self, signals: Signals) -> Tensor:
        image, all_image = signals["image"], signals["all_image"]
        text, all_text = signals["text"], signals["all_text"]
        scale, targets = signals["scale"], signals["targets"]
        if len(all_text) < 2:
            raise ValueError("DCL needs at least 2 samples in a global batch: one has no negative")
        right = (image * text).sum(1)  # [B]
        weights: Tensor | float = 1.0
        if self.sigma is not None:
            every = ((all_image * all_text).sum(1) / self.sigma).softmax(0)  # [G]
            weights = 2 - len(all_text) * every[targets]
        to_text = _without_own(scale * image @ all_text.T, targets)
        to_image = _without_own(scale * text @ all_image.T, targets)
        return (0.5 * (to_text + to_image) - weights * scale * right).mean()


def _without_own(logits: Tensor, targets: Tensor) -> Tensor:
    own = own_columns(logits, targets)
    return torch.logsumexp(logits.masked_fill(own, -math.inf), dim=1)
