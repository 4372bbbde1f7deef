"""Features of a whole data set, encoded on all ranks.

The samples are cut into the same batches whatever the number of ranks, and rank r takes the
batches r, r + world, ...: a feature depends on the shape of the batch in its last bits, so dealing
out whole batches is what makes the result equal for every number of ranks.
"""

import logging
import sys
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Never, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from tqdm import tqdm

from eval.datasets import EvalDataset
from eval.interface import Encodes, MeasuresTexts
from eval.spec import EvalSpec
from vlp import dist
from vlp.data.images import UnreadableImageError
from vlp.data.loader import draw_from, leave_signals_to_the_parent
from vlp.encoder import BaseEncoder

logger = logging.getLogger(__name__)
_NAMED = 20  # unreadable pictures named one by one in the log

Loaded = tuple[int, Tensor | None, str]  # position, pixels [3, H, W] uint8, why there are none
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class EncodedImages:
    """Features of the readable pictures; equal on every rank."""

    features: Tensor  # [n, D], unit norm, float32
    positions: list[int]  # [n], rising, in the data set
    skipped: list[tuple[str, str]]  # (key, reason)


class _Pictures(TorchDataset[Loaded]):
    def __init__(self, dataset: EvalDataset, encoder: Encodes) -> None:
        self.dataset = dataset
        self.preprocess = encoder.preprocess  # not the encoder: workers must not copy the model

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> Loaded:
        try:
            _, image = self.dataset.item(position)
        except UnreadableImageError as error:
            return position, None, str(error)
        return position, self.preprocess(image), ""


def encode_images(
    dataset: EvalDataset, encoder: Encodes, *, batch: int, workers: int, show_progress: bool
) -> EncodedImages:
    """Encode every readable picture; the others are skipped, counted and named in the log.

    Raises:
        ValueError: no picture can be read, or the features are no numbers.
    """
    features, positions, skipped = [], [], []
    drawn = _load(dataset, encoder, batch=batch, workers=workers)
    with drawn as pictures, _progress(len(dataset), "pictures", show_progress) as bar:
        for loaded in pictures:
            pixels = [image for _, image, _ in loaded if image is not None]
            positions += [position for position, image, _ in loaded if image is not None]
            skipped += [(dataset.keys[i], reason) for i, image, reason in loaded if image is None]
            if pixels:
                features.append(encoder.encode_image(torch.stack(pixels)))  # [b, D]
            bar.update(len(loaded) * dist.world_size())
    failed = [entry for rank in dist.gather_objects(skipped) for entry in rank]
    _log_skipped(dataset, failed)
    if len(failed) == len(dataset):
        raise ValueError(
            f"data {dataset.path}: none of {len(dataset)} pictures can be read; "
            f"the first: {failed[0][0]}: {failed[0][1]}"
        )
    everything, order = _collect(features, positions, encoder)
    _check_finite(everything, "picture", [dataset.keys[i] for i in order])
    return EncodedImages(features=everything, positions=order, skipped=failed)


def write_captions(
    dataset: EvalDataset,
    encoder: Encodes,
    write: Callable[[Tensor, int], list[str]],
    *,
    spec: EvalSpec,
    show_progress: bool,
) -> list[str]:
    """One caption of each picture, [n], equal on every rank.

    Args:
        dataset: pictures that can be read.
        encoder: prepares the pixels.
        write: [b, 3, H, W] uint8 and the place of the first of them in the data set -> one caption
            a picture.
        spec: has the batch and the number of decoding processes.
        show_progress: a bar on standard error, on the first rank.

    Raises:
        ValueError: a picture cannot be read.
    """
    written: dict[int, str] = {}
    broken: list[str] = []
    drawn = _load(dataset, encoder, batch=spec.batch, workers=spec.workers)
    with drawn as pictures, _progress(len(dataset), "captions", show_progress) as bar:
        for loaded in pictures:
            pixels = [(position, image) for position, image, _ in loaded if image is not None]
            broken += [f"{dataset.keys[i]}: {why}" for i, image, why in loaded if image is None]
            if pixels:
                texts = write(torch.stack([image for _, image in pixels]), pixels[0][0])
                written.update(zip((position for position, _ in pixels), texts, strict=True))
            bar.update(len(loaded) * dist.world_size())
    failed = [entry for rank in dist.gather_objects(broken) for entry in rank]
    everything = {k: text for rank in dist.gather_objects(written) for k, text in rank.items()}
    if failed:
        raise ValueError(f"data {dataset.path}: no longer readable: {failed[0]}")
    return [everything[position] for position in range(len(dataset))]


def encode_texts(
    texts: Sequence[str],
    encoder: Encodes,
    *,
    batch: int,
    show_progress: bool = False,
    encode: Callable[[Sequence[str]], Tensor] | None = None,
) -> Tensor:
    """Features of all texts, each different one encoded once -> [m, D], on every rank.

    Args:
        texts: [m].
        encoder: the model.
        batch: texts at a time.
        show_progress: a bar on standard error, on the first rank.
        encode: instead of the encoder's own tower for texts.

    Raises:
        ValueError: the features are no numbers.
    """
    encode = encode or _encoder_of_texts(encoder, batch)
    unique = _by_length(set(texts), encoder)
    features, positions = [], []
    with _progress(len(unique), "texts", show_progress) as bar:
        for rows in _own(_batches(range(len(unique)), batch)):
            features.append(encode([unique[i] for i in rows]))  # [b, D]
            positions += rows
            bar.update(len(rows) * dist.world_size())
    everything, _ = _collect(features, positions, encoder)  # [unique, D]
    _check_finite(everything, "text", unique)
    place = {text: i for i, text in enumerate(unique)}
    return everything[torch.tensor([place[text] for text in texts], device=everything.device)]


def _encoder_of_texts(encoder: Encodes, batch: int) -> Callable[[Sequence[str]], Tensor]:
    """One pass a call; the tasks count for themselves what is cut."""
    if isinstance(encoder, BaseEncoder):
        return partial(encoder.encode_text, batch_size=batch, report_truncated=False)
    return encoder.encode_text


def _by_length(texts: Collection[str], encoder: Encodes) -> list[str]:
    """Shortest first, as a batch is as long as its longest text."""
    ordered = sorted(texts, key=lambda text: (len(text), text))
    if not isinstance(encoder, MeasuresTexts):
        return ordered
    lengths = encoder.text_lengths(ordered)
    return [ordered[i] for i in sorted(range(len(ordered)), key=lengths.__getitem__)]


def _load(
    dataset: EvalDataset, encoder: Encodes, *, batch: int, workers: int
) -> "closing[Generator[Any, None, None]]":
    """The batches of this rank, as lists of `Loaded`."""
    loader: DataLoader[Any] = DataLoader(
        _Pictures(dataset, encoder),
        batch_sampler=_own(_batches(range(len(dataset)), batch)),
        worker_init_fn=leave_signals_to_the_parent,
        num_workers=workers,
        collate_fn=list,
        # of its own: the loader draws a seed, and an evaluation must leave training's random state
        generator=torch.Generator(),
    )
    return closing(draw_from(loader))


def _batches(rows: Sequence[int], size: int) -> list[list[int]]:
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]


def _own(batches: list[T]) -> list[T]:
    return batches[dist.rank() :: dist.world_size()]


def _collect(
    features: list[Tensor], positions: list[int], encoder: Encodes
) -> tuple[Tensor, list[int]]:
    """The rows of all ranks in the order of their positions."""
    widths = dist.gather_objects(features[0].shape[1] if features else 0)
    own = [rows.float() for rows in features] or [
        torch.zeros(0, max(widths), device=encoder.device)
    ]
    rows = dist.gather_rows(torch.cat(own))  # [n, D]
    if rows.device.type == "mps":
        rows = rows.cpu()  # the metrics sum in float64, which it does not have
    where = dist.gather_rows(torch.tensor(positions, dtype=torch.int64, device=rows.device))
    order = where.argsort()
    return rows[order], where[order].tolist()


def _check_finite(features: Tensor, what: str, names: Sequence[str]) -> None:
    broken = (~torch.isfinite(features).all(1)).nonzero().flatten().tolist()
    if broken:
        raise ValueError(
            f"the model gives NaN or infinity for {len(broken)} of {len(features)} {what}s, "
            f"the first: {names[broken[0]]!r}; its weights are broken or the precision too low"
        )


def _log_skipped(dataset: EvalDataset, skipped: list[tuple[str, str]]) -> None:
    if not skipped or dist.rank() != 0:
        return
    for key, reason in skipped[:_NAMED]:
        logger.warning("%s: %s is skipped: %s", dataset.name, key, reason)
    logger.warning("%s: %d of %d pictures skipped", dataset.name, len(skipped), len(dataset))


def _progress(total: int, what: str, show: bool) -> "tqdm[Never]":
    """A bar that appears after two seconds, on the first rank; few lines where no one watches."""
    interval = 0.5 if sys.stderr.isatty() else 10.0
    hidden = not show or dist.rank() != 0
    return tqdm(total=total, desc=what, disable=hidden, delay=2.0, mininterval=interval)
