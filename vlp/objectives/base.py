"""What an objective is: a declared need for signals and a scalar made of them."""

import math
from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

from vlp.signals import Signals


class Objective(nn.Module, ABC):
    """A term of the training loss.

    `forward` returns the mean over the rank's own rows, so that the mean over ranks is the mean
    over the global batch. It sees plain tensors: it never calls the model, never communicates and
    never reads the configuration. Its parameters and buffers are trained, synchronised and
    checkpointed like the model's.

    Args:
        weight: factor of the term in the total loss, finite.
    """

    scope: Literal["batch", "sample"] = "batch"
    """"batch" if the value of a row depends on other samples' features, "sample" if not."""

    def __init__(self, *, weight: float = 1.0) -> None:
        super().__init__()
        if not math.isfinite(weight):
            raise ValueError(f"weight must be a finite number, got {weight}")
        self.weight = weight

    @property
    @abstractmethod
    def needs(self) -> frozenset[str]:
        """Names of the signals that `forward` reads; a function of the options alone."""

    @abstractmethod
    def forward(self, signals: Signals) -> Tensor:
        """The unweighted term, a scalar."""

    def after_step(self, signals: Signals) -> None:
        """Advance state that is no parameter; called once after each optimizer step."""
