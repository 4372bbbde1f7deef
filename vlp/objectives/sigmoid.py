"""Pairwise sigmoid: −(1/G) Σ_ij log σ(z_ij·(a·x_i·y_j + b)), z = 1 for pairs and −1 otherwise.

Zhai et al. 2023 (SigLIP, arXiv 2303.15343), algorithm 1; a starts at 10 and b at −10. Other than
InfoNCE it needs no sum over a row, so blocks of texts travel from rank to rank and no rank ever
holds the features of all.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vlp.dist import world_size
from vlp.objectives.base import Objective
from vlp.objectives.rows import DUPLICATE_NEEDS, distinct, own_columns
from vlp.ops import sigmoid_loss
from vlp.signals import Signals


class Sigmoid(Objective):
    """The loss of SigLIP.

    Args:
        weight: factor of the term in the total loss.
        ignore_duplicates: equal captions or equal pictures in a batch are no negatives.
    """

    def __init__(self, *, weight: float = 1.0, ignore_duplicates: bool = False) -> None:
        super().__init__(weight=weight)
        self.ignore_duplicates = ignore_duplicates

    @property
    def needs(self) -> frozenset[str]:
        found = {"image", "text", "scale", "bias"}
        if self.ignore_duplicates:
            found |= {"all_text", "targets", *DUPLICATE_NEEDS}
        return frozenset(found)

    def forward(self, signals: Signals) -> Tensor:
        image, text = signals["image"], signals["text"]
        scale, bias = signals["scale"], signals["bias"]
        rows = len(signals.get("all_text", text))
        # other numbers of rows: one rank's view of a batch, without the other ranks
        if not self.ignore_duplicates and rows in (len(text), len(text) * world_size()):
            return sigmoid_loss(image, text, scale, bias)
        logits = scale * image @ signals["all_text"].T + bias  # [B, G]
        own = own_columns(logits, signals["targets"])
        losses = -F.logsigmoid(torch.where(own, logits, -logits))
        if self.ignore_duplicates:
            losses = losses * (distinct(signals) | own)
        return losses.sum(1).mean()
