"""What the evaluation asks of a model, and what a task gets and gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from eval.datasets import EvalDataset
from eval.spec import EvalSpec
from vlp.metrics.bootstrap import Interval

Array = np.ndarray[Any, Any]


class Encodes(Protocol):
    """The part of `vlp.Encoder` that is used here."""

    @property
    def device(self) -> torch.device: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def preprocess(self) -> Callable[[Image.Image], Tensor]: ...
    @property
    def protocol(self) -> dict[str, Any]: ...
    @property
    def description(self) -> dict[str, Any]: ...

    def encode_image(self, images: Sequence[Image.Image] | Tensor) -> Tensor: ...
    def encode_text(self, texts: Sequence[str]) -> Tensor: ...
    def truncated(self, texts: Sequence[str]) -> int: ...


@runtime_checkable
class WritesCaptions(Protocol):
    """What the captioning task asks of a model besides."""

    @property
    def captions(self) -> bool: ...  # whether it can

    def caption(
        self,
        images: Sequence[Image.Image] | Tensor,
        *,
        method: str = ...,
        max_length: int | None = ...,
        beams: int = ...,
        top_p: float = ...,
        seed: int = ...,
    ) -> list[str]: ...


@dataclass(frozen=True, kw_only=True)
class TaskInput:
    """The readable samples of a data set with their features; equal on every rank."""

    spec: EvalSpec
    dataset: EvalDataset  # n samples
    image: Tensor  # [n, D], unit norm
    encode_text: Callable[[Sequence[str]], Tensor]  # texts [m] -> [m, D]; called by all ranks
    truncated: Callable[[Sequence[str]], int]
    write_captions: Callable[[], list[str]]  # one a picture [n]; called by all ranks


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What a task found out."""

    metrics: dict[str, float]
    ci95: Mapping[str, Interval | None]
    counts: dict[str, int | None]  # images, texts, classes, ties, truncated_texts, left_out
    protocol: dict[str, Any]
    predictions: dict[str, Array]
    chance: Mapping[str, float] = field(default_factory=dict)  # what guessing scores
    seconds: dict[str, float] = field(default_factory=dict)  # text, metric
