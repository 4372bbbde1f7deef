"""Uniformity of features: U(Z) = log mean_{i<j} exp(−t‖z_i − z_j‖²), and across modalities.

Fahim et al. 2024 ("It's Not a Modality Gap", arXiv 2405.18570), after Wang & Isola 2020. With
InfoNCE and `Alignment`, all at weight 1: CUA is `Uniformity` with `Alignment`; CUAXU adds
`CrossUniformity`. On the unit sphere ‖u − v‖² = 2 − 2u·v, so a term is 0 where all features are one
and −2t where all are orthogonal.
"""

import torch
from torch import Tensor

from vlp.dist import global_sum
from vlp.objectives.base import Objective
from vlp.objectives.rows import own_columns
from vlp.signals import Signals


class _Uniformity(Objective):
    def __init__(self, *, weight: float = 1.0, t: float = 2.0) -> None:
        super().__init__(weight=weight)
        if not t > 0:
            raise ValueError(f"t must be positive, got {t}")
        self.t = t

    def _between(self, rows: Tensor, columns: Tensor, targets: Tensor) -> Tensor:
        """log mean exp(−t‖r_i − c_j‖²) over all i ≠ j of the global batch; equal on all ranks."""
        count = len(columns)
        if count < 2:
            return rows.sum() * 0.0  # one sample has no pairs
        cosines = rows @ columns.T  # [B, G]
        kernel = torch.exp(2 * self.t * (cosines - 1))
        kernel = kernel.masked_fill(own_columns(cosines, targets), 0.0)
        return torch.log(global_sum(kernel.sum()) / (count * (count - 1)))


class Uniformity(_Uniformity):
    """½ U(images) + ½ U(texts).

    Args:
        weight: factor of the term in the total loss.
        t: width of the kernel, 2 in the paper.
    """

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"image", "text", "all_image", "all_text", "targets"})

    def forward(self, signals: Signals) -> Tensor:
        targets = signals["targets"]
        image = self._between(signals["image"], signals["all_image"], targets)
        text = self._between(signals["text"], signals["all_text"], targets)
        return 0.5 * (image + text)


class CrossUniformity(_Uniformity):
    """log mean over i ≠ j of exp(−t‖x_i − y_j‖²): images against the texts of others.

    Args:
        weight: factor of the term in the total loss.
        t: width of the kernel, 2 in the paper.
    """

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"image", "all_text", "targets"})

    def forward(self, signals: Signals) -> Tensor:
        return self._between(signals["image"], signals["all_text"], signals["targets"])
