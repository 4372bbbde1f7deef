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
from vlp.metrics.outcomes import Outcome

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


@runtime_checkable
class MeasuresTexts(Protocol):
    """A model that can say how many tokens a text has, so that equally long ones go together."""

    def text_lengths(self, texts: Sequence[str]) -> list[int]: ...


@runtime_checkable
class SaysNo(Protocol):
    """A model with CLIPN's second text tower, which is nearest to what a text does not fit."""

    def encode_no_text(self, texts: Sequence[str]) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class EncodedSet:
    """The readable samples of a data set with their features; equal on every rank."""

    dataset: EvalDataset  # n samples
    image: Tensor  # [n, D], unit norm, float32


@dataclass(frozen=True, kw_only=True)
class TaskInput:
    """What a task works on; equal on every rank."""

    spec: EvalSpec
    dataset: EvalDataset  # the n readable samples
    image: Tensor  # [n, D], unit norm
    more: Mapping[str, EncodedSet]  # the further sets that the task asked for, by its names
    scale: float | None  # the model's inverse temperature, None if it says none
    encode_text: Callable[[Sequence[str]], Tensor]  # texts [m] -> [m, D]; called by all ranks
    encode_no_text: Callable[[Sequence[str]], Tensor] | None  # the same by a 'no' tower
    truncated: Callable[[Sequence[str]], int]
    write_captions: Callable[[], list[str]]  # one a picture [n]; called by all ranks


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What a task found out."""

    metrics: dict[str, float]
    # of each metric that has one: what every sample contributed, for intervals and comparisons
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    ci95: Mapping[str, Interval | None] = field(default_factory=dict)  # of metrics without outcomes
    counts: dict[str, int | None]  # images, texts, classes, ties, truncated_texts, left_out
    protocol: dict[str, Any]
    predictions: dict[str, Array]
    chance: Mapping[str, float] = field(default_factory=dict)  # what guessing scores
    seconds: dict[str, float] = field(default_factory=dict)  # text, metric


@dataclass(frozen=True, kw_only=True)
class Task:
    """A benchmark task: a check that needs no model, and the task itself."""

    name: str
    main: str  # the metric of the summary
    needs: str  # what the samples must carry, for people
    metrics: str  # what it reports, for people
    source: str  # paper or tool that defines it
    check: Callable[[EvalDataset, EvalSpec], None]
    run: Callable[[TaskInput], TaskResult]
    options: frozenset[str] = frozenset()  # of `TASK_OPTIONS`, those that it reads
    # further data sets that it needs encoded: train and validation splits, others
    more: Callable[[EvalDataset, EvalSpec], dict[str, EvalDataset]] = lambda dataset, spec: {}
    writes_captions: bool = False  # the model must be able to
