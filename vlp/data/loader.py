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
import torch.nn.functional as F
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
    place: Place
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
        """sha256 of what batches are made of: sources, shards and how long these are, sidecars."""
        made_of: list[Any] = [
            [source.name, [Path(shard).name for shard in source.shards], source.lengths]
            for source in self.sources
        ]
        sidecars = [size for source in self.sources for size in source.sidecar_marks()]
        made_of += [sidecars] if sidecars else []
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()

    def __getitem__(self, k: int) -> Batch:
        problems: list[Problem] = []
        samples: list[Sample] = []
        for row, place in zip(range(*self.rows), self.order.places(k, *self.rows), strict=True):
            if not self.order.is_neighbour(row):
                samples.append(self._sample(place, problems))
                continue
            # of another rank's sample where this rank's rows begin with the neighbour
            anchor = samples[-1] if samples else self._sample(place, [])
            samples.append(self._neighbour(anchor, problems))
        rows, truncated = self._tokens(samples)
        if self.pipeline.trim is not None:
            rows |= _trimmed(rows, self.pipeline.trim)
        rows["pixels"] = torch.stack([sample.pixels for sample in samples])
        rows["sample_id"] = torch.tensor([sample.place.sample for sample in samples])
        if self.pipeline.hashes:
            captions = [sample.texts.captions[0] for sample in samples]
            rows["caption_id"] = torch.tensor([_hash(text.encode()) for text in captions])
            rows["image_id"] = torch.tensor([_hash(sample.raw.image) for sample in samples])
        for name in self.pipeline.teachers:
            rows |= _stored(name, samples)
        return {
            "rows": rows,
            "problems": problems,
            "truncated": truncated,
            "fallbacks": sum(bool(sample.raw.annotations.missing) for sample in samples),
        }

    def _tokens(self, samples: list[Sample]) -> tuple[dict[str, Tensor], int]:
        """`tokens` and, by kind, dense tokens and masks of the further texts; how many were cut.

        A wrong text that is the caption's own once it is cut would contradict it: it is left out.
        """
        texts = [sample.texts.captions[0] for sample in samples]
        slots = self.pipeline.draw.slots
        places: list[tuple[str, int, int]] = []
        for row, sample in enumerate(samples):
            for kind in slots:
                own = sample.texts.captions[1:] if kind == MORE else sample.texts.further.get(kind)
                for slot, text in enumerate(own or ()):
                    places.append((kind, row, slot))
                    texts.append(text)
        tokens = self.pipeline.tokenize(texts)
        truncated = self.pipeline.truncated(texts, tokens)
        rows = len(samples)
        captions, further = tokens[:rows], tokens[rows:]
        if not slots:
            return {"tokens": captions}, truncated
        kept = [
            i
            for i, (kind, row, _) in enumerate(places)
            if kind == MORE or not torch.equal(further[i], captions[row])
        ]
        made = dense(further[kept], [places[i] for i in kept], rows, slots)
        return {"tokens": captions, **made}, truncated

    def _sample(self, place: Place, problems: list[Problem], first: int = 0) -> Sample:
        """The sample of a place, or its substitute; with `first` of 1 a substitute at once."""
        for attempt in range(first, MAX_SUBSTITUTES):
            at = place if attempt == 0 else self.order.substitute(place, attempt)
            sample = self._read(at, problems)
            if sample is not None:
                return sample
        raise UnusableSampleError(
            f"data.sources.{self.sources[place.source].name}: {MAX_SUBSTITUTES} samples in a row "
            f"are unusable, the last is {problems[-1].key} of {problems[-1].shard}: "
            f"{problems[-1].reason}"
        )

    def _neighbour(self, anchor: Sample, problems: list[Problem]) -> Sample:
        """One of the samples nearest to another, a different one from epoch to epoch.

        Without a usable one it is a substitute.
        """
        at, near = anchor.place, anchor.raw.annotations.neighbours
        source = self.sources[at.source]
        first = int(philox(self.order.seed, NEIGHBOUR, at.epoch, at.sample).random_raw())
        dropped = 0
        for i in range(len(near)):
            stem, key = near[(first + i) % len(near)]
            try:
                found = source.find(stem, key)
            except (UnusableSampleError, OSError) as error:
                problems.append(Problem(stem, key, str(error)))
                continue
            if found is None:
                dropped += 1
                continue
            sample = self._read(self.order.at(at.source, at.epoch, *found), problems)
            if sample is not None:
                return sample
        if dropped == len(near):
            reason = "its neighbours are not kept" if near else "no neighbours in the sidecar"
            problems.append(Problem(source.shards[at.shard], anchor.raw.key, reason))
        return self._sample(at, problems, first=1)

    def _read(self, at: Place, problems: list[Problem]) -> Sample | None:
        """A sample ready for a batch; None, and a problem more, if it is unusable."""
        source, key = self.sources[at.source], f"row {at.row}"
        try:
            raw = source.read(at.shard, at.row)
            key = raw.key
            return self._decode(at, raw)
        except (UnusableSampleError, UnreadableImageError, OSError) as error:
            problems.append(Problem(source.shards[at.shard], key, str(error)))
            return None

    def _decode(self, at: Place, raw: RawSample) -> Sample:
        rng = np.random.Generator(philox(self.order.seed, DRAW, at.epoch, at.sample))
        own = raw.captions()
        drawn = self.pipeline.draw.caption(own, raw.annotations, rng)
        for name in self.pipeline.teachers:
            raw.stored(name, drawn.own)
        pixels = self.pipeline.transform(decode_rgb(raw.image), rng)
        # of another stream, so that further texts leave crops and captions as they are
        apart = np.random.Generator(philox(self.order.seed, TEXTS, at.epoch, at.sample))
        texts = self.pipeline.draw.draw(drawn, own, raw.annotations, apart)
        return Sample(pixels, texts, at, raw)


def _trimmed(rows: Mapping[str, Tensor], trim: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """All token tensors cut at the longest text among them."""
    tokens = {name: value for name, value in rows.items() if name.endswith("tokens")}
    length = trim(torch.cat([value.flatten(0, -2) for value in tokens.values()])).shape[1]
    return {name: value[..., :length] for name, value in tokens.items()}


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little", signed=True)


def _stored(name: str, samples: Sequence[Sample]) -> dict[str, Tensor]:
    """A teacher's stored features, unit norm: of the picture, and of the caption that was drawn."""
    pairs = [sample.raw.stored(name, sample.texts.own) for sample in samples]
    return {
        f"{name}_{side}": F.normalize(torch.from_numpy(np.stack(values)), dim=-1)
        for side, values in zip(("image", "text"), zip(*pairs, strict=True), strict=True)
    }


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
