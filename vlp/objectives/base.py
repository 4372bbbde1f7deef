"""What an objective is: a declared need for signals and a scalar made of them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from vlp.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a run before its first step, for an objective to check or to size itself."""

    samples: int  # in the data set, over all sources
    widths: Mapping[str, int] = field(default_factory=dict)  # of features by signal
    pad_id: int = 0  # of the tokenizer
    locked: frozenset[str] = frozenset()  # towers that are not trained, "image" or "text"


class Objective(nn.Module, ABC):
    """A term of the training loss.

    `forward` returns the mean over the rank's own rows, so that the mean over ranks is the mean
    over the global batch; where only some rows or tokens count, they are weighed by their number
    over all ranks (`vlp.dist.masked_mean`). It sees plain tensors: it never calls the model and
    never reads the configuration; what it needs of other ranks comes from `vlp.dist` and
    `vlp.ops`. Its parameters and buffers are trained, synchronised and checkpointed like the
    model's.

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

    def prepare(self, facts: Facts) -> None:
        """Size state and check options against the run; called once, before the first step.

        Raises:
            ValueError: an option does not go with the run.
        """

    def items(self, signals: Signals) -> Tensor | None:
        """How many rows or tokens count, [], where `forward` is a mean over these alone."""
        return None

    def state_rows(self) -> dict[str, Tensor]:
        """What the last `forward` found for its own rows and `after_step` needs of all ranks.

        For scope "batch" alone: with micro-batches the others run several times a step.
        """
        return {}

    def after_step(self, rows: Mapping[str, Tensor]) -> None:
        """Advance state that is no parameter; called once after each optimizer step.

        Args:
            rows: `state_rows` of all ranks, rank by rank, so that every rank does the same.
        """


def check_range(name: str, value: float, low: float, high: float, *, closed: bool = False) -> None:
    """Refuse an option outside [low, high), or [low, high] if `closed`."""
    if not (low <= value < high or (closed and value == high)):
        raise ValueError(f"{name} must be in [{low}, {high}{']' if closed else ')'}, got {value}")
