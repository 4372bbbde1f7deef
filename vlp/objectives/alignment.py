"""Alignment: mean ‖x_i − y_i‖² over pairs.

Wang & Isola 2020, eq. 1 with α = 2; a part of CUA and CUAXU (Fahim et al. 2024, see `uniformity`).
Alone it collapses: all features become one.
"""

from torch import Tensor

from vlp.objectives.base import Objective
from vlp.signals import Signals


class Alignment(Objective):
    """The mean squared distance of a pair, in [0, 4].

    Args:
        weight: factor of the term in the total loss.
    """

    scope = "sample"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"image", "text"})

    def forward(self, signals: Signals) -> Tensor:
        return (signals["image"] - signals["text"]).square().sum(dim=1).mean()
