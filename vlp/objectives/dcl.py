"""DCL: −w_i·a·s_ii + log Σ_{j≠i} exp(a·s_ij), both directions: InfoNCE without the positive below.

Yeh et al. 2022 ("Decoupled Contrastive Learning") and, with `sigma`, the weight
w_i = 2 − G·softmax_i(s_ii/σ) of DCLW. Without the positive in the denominator the gradient
does not vanish for easy positives, which helps at small batches. The value may be negative, and a
learned scale can lower it without end: the paper's temperature is fixed, 0.1 there.
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
        temperature: fixed; without it the model's learned scale is used.
        sigma: width of the weights of DCLW, 0.5 in the paper; without it every pair counts alike.
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        temperature: float | None = None,
        sigma: float | None = None,
    ) -> None:
        super().__init__(weight=weight)
        for name, value in (("temperature", temperature), ("sigma", sigma)):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive, got {value}")
        self.temperature = temperature
        self.sigma = sigma

    @property
    def needs(self) -> frozenset[str]:
        found = {"image", "text", "all_image", "all_text", "targets"}
        return frozenset(found | {"scale"} if self.temperature is None else found)

    def forward(self, signals: Signals) -> Tensor:
        image, all_image = signals["image"], signals["all_image"]
        text, all_text = signals["text"], signals["all_text"]
        scale = signals["scale"] if self.temperature is None else 1 / self.temperature
        targets = signals["targets"]
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
