"""Captioning: −log p(token | tokens before it, image), the mean over all tokens of the batch.

Yu et al. 2022 (CoCa, arXiv 2205.01917). Beside InfoNCE at weight 1 CoCa gives it weight 2,
which is the default here.
"""

import torch.nn.functional as F
from torch import Tensor

from vlp.dist import masked_mean
from vlp.objectives.base import Facts, Objective, check_range
from vlp.signals import Signals


class Captioning(Objective):
    """Token cross-entropy of a captioning decoder.

    Args:
        weight: factor of the term in the total loss.
        pad_id: the tokenizer's padding, which is not predicted.
        label_smoothing: share of the target spread evenly over the vocabulary, in [0, 1).
    """

    scope = "sample"

    def __init__(
        self, *, weight: float = 2.0, pad_id: int = 0, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(weight=weight)
        check_range("label_smoothing", label_smoothing, 0.0, 1.0)
        self.pad_id = pad_id
        self.label_smoothing = label_smoothing

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"caption_logits", "caption_ids"})

    def prepare(self, facts: Facts) -> None:
        if facts.pad_id != self.pad_id:
            raise ValueError(
                f"pad_id {self.pad_id} is not the tokenizer's padding; set pad_id: {facts.pad_id}"
            )

    def forward(self, signals: Signals) -> Tensor:
        logits, ids = signals["caption_logits"], signals["caption_ids"]
        losses = F.cross_entropy(
            logits.flatten(0, 1).float() if logits.dtype.itemsize < 4 else logits.flatten(0, 1),
            ids.flatten(),
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        return masked_mean(losses, ids.flatten() != self.pad_id)

    def items(self, signals: Signals) -> Tensor:
        return (signals["caption_ids"] != self.pad_id).sum()
