"""Batches for a rank: read, decode, augment, draw a caption, tokenize.

Everything random is keyed by (seed, epoch, sample), so a batch depends on its number alone.
"""

import hashlib
import json
import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vlp.data.images import UnreadableImageError, decode_rgb
from vlp.data.order import DRAW, NEIGHBOUR, TEXTS, BatchOrder, Place, philox
from vlp.data.sidecars import NEIGHBOURS
from vlp.data.source import RawSample, Source, SourceConfig, UnusableSampleError
from vlp.data.texts import TextConfig, TextDraw, Texts, dense
from vlp.data.transforms import Augment
from vlp.signals import MORE

T = TypeVar("T")
MAX_SUBSTITUTES = 100  # a source in which this many draws in a row fail has nothing to read


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is read and how it is shuffled."""

    sources: dict[str, SourceConfig]
    workers: int = 2  # loader processes per rank; the data do not depend on it
    shuffle_window: int = 8192  # samples that are shuffled together, after shuffling the shards
    augment: Augment = field(default_factory=Augment)
    texts: TextConfig = field(default_factory=TextConfig)
    hard_images: bool = False  # every second sample of a batch is a neighbour of the one before it
    max_unreadable: float = 0.01  # share of samples that may be substituted before the run stops

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("data.sources is empty: a run needs at least one source")
        for name, low in (("workers", 0), ("shuffle_window", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"data.{name} must be >= {low}, got {getattr(self, name)}")
        for name, source in self.sources.items():
            if self.hard_images and not source.has(NEIGHBOURS):
                raise ValueError(
                    f"data.hard_images needs the neighbours of every sample: "
                    f"data.sources.{name}.sidecars: [{NEIGHBOURS}]"
                )


@dataclass(frozen=True)
class Problem:
    """An unusable sample that was replaced by another one."""

    shard: str
    key: str
    reason: str


class Batch(TypedDict):
    """A rank's part of a global batch."""

    rows: dict[str, Tensor]  # [B, ...]: `pixels`, `tokens`, `sample_id` and what else is needed
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
    draw: TextDraw = field(default_factory=lambda: TextDraw(TextConfig()))
    hashes: bool = False  # give `caption_id` and `image_id`
    teachers: tuple[str, ...] = ()  # sidecars with stored embeddings that are needed


@dataclass(frozen=True)
class Sample:
    """A decoded sample with its drawn texts."""

    pixels: Tensor
    texts: Texts
    number: int  # in the data set
    raw: RawSample


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
        places = zip(range(*self.rows), self.order.places(k, *self.rows), strict=True)
        samples = [self._sample(row, place, problems) for row, place in places]
        texts = [sample.texts.captions[0] for sample in samples]
        rows = self._tokens(samples)
        truncated = self.pipeline.truncated(texts, rows["tokens"])
        if self.pipeline.trim is not None:
            rows |= _trimmed(rows, self.pipeline.trim)
        rows["pixels"] = torch.stack([sample.pixels for sample in samples])
        rows["sample_id"] = torch.tensor([sample.number for sample in samples])
        if self.pipeline.hashes:
            rows["caption_id"] = torch.tensor([_hash(text.encode()) for text in texts])
            rows["image_id"] = torch.tensor([_hash(sample.raw.image) for sample in samples])
        for name in self.pipeline.teachers:
            rows |= _stored(name, samples)
        return {
            "rows": rows,
            "problems": problems,
            "truncated": truncated,
            "fallbacks": sum(bool(sample.raw.annotations.missing) for sample in samples),
        }

    def _tokens(self, samples: list[Sample]) -> dict[str, Tensor]:
        """`tokens` and, by kind, the dense tokens and masks of the further texts."""
        texts = [sample.texts.captions[0] for sample in samples]
        slots = self.pipeline.draw.slots
        if not slots:
            return {"tokens": self.pipeline.tokenize(texts)}
        places: list[tuple[str, int, int]] = []
        for row, sample in enumerate(samples):
            for kind in slots:
                own = sample.texts.captions[1:] if kind == MORE else sample.texts.further.get(kind)
                for slot, text in enumerate(own or ()):
                    places.append((kind, row, slot))
                    texts.append(text)
        tokens = self.pipeline.tokenize(texts)
        rows = len(samples)
        return {"tokens": tokens[:rows], **dense(tokens[rows:], places, rows, slots)}

    def _sample(self, row: int, place: Place, problems: list[Problem]) -> Sample:
        """The sample of a row of a global batch, or its substitute."""
        for attempt in range(MAX_SUBSTITUTES):
            source = self.sources[place.source]
            at = place if attempt == 0 else self.order.substitute(place, attempt)
            key = f"row {at.row}"
            try:
                raw = source.read(at.shard, at.row)
                key = raw.key
                if self.order.is_neighbour(row):
                    at, raw = self._neighbour(source, at, raw)
                    key = raw.key
                return self._decode(at, raw)
            except (UnusableSampleError, UnreadableImageError, OSError) as error:
                problems.append(Problem(source.shards[at.shard], key, str(error)))
        raise UnusableSampleError(
            f"data.sources.{source.name}: {MAX_SUBSTITUTES} samples in a row are unusable, "
            f"the last is {problems[-1].key} of {problems[-1].shard}: {problems[-1].reason}"
        )

    def _neighbour(self, source: Source, at: Place, raw: RawSample) -> tuple[Place, RawSample]:
        """One of the nearest samples, another one from epoch to epoch."""
        neighbours = raw.annotations.neighbours
        if not neighbours:
            raise UnusableSampleError("no neighbours in the sidecar")
        word = philox(self.order.seed, NEIGHBOUR, at.epoch, at.sample).random_raw()
        shard, row = source.find(*neighbours[int(word) % len(neighbours)])
        return self.order.at(at.source, at.epoch, shard, row), source.read(shard, row)

    def _decode(self, at: Place, raw: RawSample) -> Sample:
        rng = np.random.Generator(philox(self.order.seed, DRAW, at.epoch, at.sample))
        for name in self.pipeline.teachers:
            if name not in (raw.annotations.teachers or {}):
                raise UnusableSampleError(f"the sidecar {name} has no row for this caption")
        own = raw.captions()
        drawn = self.pipeline.draw.caption(own, raw.annotations, rng)
        pixels = self.pipeline.transform(decode_rgb(raw.image), rng)
        # of another stream, so that further texts leave crops and captions as they are
        apart = np.random.Generator(philox(self.order.seed, TEXTS, at.epoch, at.sample))
        texts = self.pipeline.draw.draw(drawn, own, raw.annotations, apart)
        return Sample(pixels, texts, at.sample, raw)


def _trimmed(rows: Mapping[str, Tensor], trim: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """All token tensors cut at the longest text among them."""
    tokens = {name: value for name, value in rows.items() if name.endswith("tokens")}
    length = trim(torch.cat([value.flatten(0, -2) for value in tokens.values()])).shape[1]
    return {name: value[..., :length] for name, value in tokens.items()}


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little", signed=True)


def _stored(name: str, samples: Sequence[Sample]) -> dict[str, Tensor]:
    """A teacher's stored embeddings: of the picture, and of the caption that was drawn."""
    images, texts = [], []
    for sample in samples:
        assert sample.raw.annotations.teachers is not None
        image, captions = sample.raw.annotations.teachers[name]
        assert sample.texts.own is not None  # rewrites are refused beside stored embeddings
        images.append(torch.from_numpy(image))
        texts.append(torch.from_numpy(captions[sample.texts.own]))
    return {f"{name}_image": torch.stack(images), f"{name}_text": torch.stack(texts)}


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
