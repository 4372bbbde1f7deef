"""CWCL: soft targets w_ij/Σ_j w_ij from the locked tower in its direction, InfoNCE in the other.

Srinivasa et al. 2023 ("CWCL: Cross-Modal Transfer with Continuously Weighted Contrastive Loss"):
w_ij = ½ + ½ u_i·u_j of the locked tower's own features u; the sum of the directions.
The kernel "exp", exp((u_i·u_j − 1)/0.1), is that of later re-implementations.
"""

import logging
from typing import Literal

import torch
from torch import Tensor

from vlp.objectives.base import Facts, Objective
from vlp.objectives.rows import row_losses
from vlp.signals import Signals

log = logging.getLogger(__name__)
_EXP_WIDTH = 0.1


class CWCL(Objective):
    """The continuously weighted contrastive loss.

    Args:
        weight: factor of the term in the total loss.
        locked: the tower whose similarities are the targets, "image" or "text".
        kernel: "linear" (the paper's) or "exp".
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        locked: Literal["image", "text"] = "image",
        kernel: Literal["linear", "exp"] = "linear",
    ) -> None:
        super().__init__(weight=weight)
        for name, value, choices in (
            ("locked", locked, ("image", "text")),
            ("kernel", kernel, ("linear", "exp")),
        ):
            if value not in choices:
                raise ValueError(f"{name} {value!r}: choices are {', '.join(choices)}")
        self.locked = locked
        self.kernel = kernel

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"image", "text", "all_image", "all_text", "targets", "scale"})

    def prepare(self, facts: Facts) -> None:
        if self.locked not in facts.locked:
            log.warning(
                "CWCL takes its targets from the %s tower, which is trained in this run; "
                "the paper locks it: model.lock: [%s]",
                self.locked,
                self.locked,
            )

    def forward(self, signals: Signals) -> Tensor:
        scale, targets = signals["scale"], signals["targets"]
        image = (signals["image"], signals["all_image"])
        text = (signals["text"], signals["all_text"])
        (fixed, all_fixed), (other, all_other) = (
            (image, text) if self.locked == "image" else (text, image)
        )
        soft = self._targets(fixed.detach(), all_fixed.detach())  # [B, G]
        logits = scale * fixed @ all_other.T  # [B, G]
        weighted = -(soft * logits.log_softmax(1)).sum(1).mean()
        back = scale * other @ all_fixed.T  # [B, G]
        return weighted + row_losses(back, targets).mean()

    def _targets(self, rows: Tensor, columns: Tensor) -> Tensor:
        cosines = rows @ columns.T
        if self.kernel == "linear":
            similar = 0.5 + 0.5 * cosines
        else:
            similar = torch.exp((cosines - 1) / _EXP_WIDTH)
        return similar / similar.sum(1, keepdim=True)
