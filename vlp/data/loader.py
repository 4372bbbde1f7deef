"""Batches for a rank: read, decode, augment, draw a caption, tokenize.

Everything random is keyed by (seed, epoch, sample), so a batch depends on its number alone.
"""

import hashlib
import json
import signal
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vlp.data.images import UnreadableImageError, decode_rgb
from vlp.data.order import DRAW, BatchOrder, Place, philox
from vlp.data.source import RawSample, Source, SourceConfig, UnusableSampleError
from vlp.data.transforms import Augment, drop_words

T = TypeVar("T")
MAX_SUBSTITUTES = 100  # a source in which this many draws in a row fail has nothing to read


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is read and how it is shuffled."""

    sources: dict[str, SourceConfig]
    workers: int = 2  # loader processes per rank; the data do not depend on it
    shuffle_window: int = 8192  # samples that are shuffled together, after shuffling the shards
    augment: Augment = field(default_factory=Augment)
    max_unreadable: float = 0.01  # share of samples that may be substituted before the run stops

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("data.sources is empty: a run needs at least one source")
        for name, low in (("workers", 0), ("shuffle_window", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"data.{name} must be >= {low}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Problem:
    """An unusable sample that was replaced by another one."""

    shard: str
    key: str
    reason: str


class Batch(TypedDict):
    """A rank's part of a global batch."""

    pixels: Tensor  # [B, 3, H, W] uint8
    tokens: Tensor  # [B, L] int64
    sample_id: Tensor  # [B] int64
    problems: list[Problem]
    truncated: int  # captions cut at the context length
    fallbacks: int  # samples for which a sidecar has no row


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What turns raw samples into tensors; picklable."""

    transform: Callable[[np.ndarray, np.random.Generator], Tensor]
    tokenize: Callable[[list[str]], Tensor]
    truncated: Callable[[list[str], Tensor], int]
    trim: Callable[[Tensor], Tensor] | None
    word_dropout: float = 0.0

    def draw_caption(self, raw: RawSample, rng: np.random.Generator) -> str:
        """One of the captions and rewrites, uniformly; a rewrite of under two words is no caption.

        Fan et al. 2023 (LaCLIP): such rewrites fall back to the original.
        """
        captions = raw.captions()
        drawn = int(rng.integers(len(captions)))
        own = len(captions) - len(raw.rewrites)
        too_short = drawn >= own and len(captions[drawn].split()) < 2
        caption = captions[0 if too_short else drawn]
        return drop_words(caption, self.word_dropout, rng) if self.word_dropout else caption


class PairDataset(Dataset[Batch]):
    """Map-style over global batch numbers: item k is this rank's slice of global batch k."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        order: BatchOrder,
        pipeline: Pipeline,
        rows: tuple[int, int],
    ) -> None:
        self.sources = list(sources.values())
        self.order = order
        self.pipeline = pipeline
        self.rows = rows  # of the global batch, this rank's [start, stop)

    @property
    def digest(self) -> str:
        """sha256 of what the order is made of: the sources, their shards and how long these are."""
        made_of = [
            [source.name, [Path(shard).name for shard in source.shards], source.lengths]
            for source in self.sources
        ]
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()

    def __getitem__(self, k: int) -> Batch:
        problems: list[Problem] = []
        samples = [self._sample(place, problems) for place in self.order.places(k, *self.rows)]
        texts = [caption for _, caption, _, _ in samples]
        tokens = self.pipeline.tokenize(texts)
        truncated = self.pipeline.truncated(texts, tokens)
        return {
            "pixels": torch.stack([pixels for pixels, _, _, _ in samples]),
            "tokens": self.pipeline.trim(tokens) if self.pipeline.trim else tokens,
            "sample_id": torch.tensor([sample for _, _, sample, _ in samples]),
            "problems": problems,
            "truncated": truncated,
            "fallbacks": sum(fallback for _, _, _, fallback in samples),
        }

    def _sample(self, place: Place, problems: list[Problem]) -> tuple[Tensor, str, int, bool]:
        """(pixels, caption, sample number, sidecar missing) of a place or of its substitute."""
        for attempt in range(MAX_SUBSTITUTES):
            source = self.sources[place.source]
            at = place if attempt == 0 else self.order.substitute(place, attempt)
            rng = np.random.Generator(philox(self.order.seed, DRAW, at.epoch, at.sample))
            key = f"row {at.row}"
            try:
                raw = source.read(at.shard, at.row)
                key = raw.key
                caption = self.pipeline.draw_caption(raw, rng)
                pixels = self.pipeline.transform(decode_rgb(raw.image), rng)
            except (UnusableSampleError, UnreadableImageError, OSError) as error:
                problems.append(Problem(source.shards[at.shard], key, str(error)))
            else:
                return pixels, caption, at.sample, raw.fallback
        raise UnusableSampleError(
            f"data.sources.{source.name}: {MAX_SUBSTITUTES} samples in a row are unusable, "
            f"the last is {problems[-1].key} of {problems[-1].shard}: {problems[-1].reason}"
        )


def leave_signals_to_the_parent(_: int) -> None:
    """Schedulers and Ctrl-C signal a whole process group; the parent needs its workers to save.

    A worker ends when its iterator is closed, and when the parent is gone.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def draw_from(loader: DataLoader[T]) -> Generator[T, None, None]:
    """What the loader gives. Close the generator: its workers end with it and with nothing else.

    They ignore the signals by which an interpreter that exits would end them.
    """
    iterator = iter(loader)
    try:
        yield from iterator
    finally:
        del iterator, loader  # the last references


def batches(
    dataset: PairDataset, start: int, stop: int, *, workers: int, pin_memory: bool
) -> Generator[Batch, None, None]:
    """Batches start to stop in order; workers take whole batches in turn."""
    options: dict[str, Any] = {"persistent_workers": True} if workers else {}
    loader: DataLoader[Batch] = DataLoader(
        dataset,
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=leave_signals_to_the_parent,
        **options,
    )
    return draw_from(loader)
