"""Pictures to unit vectors: decoded by threads, encoded in batches, what is bad reported."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from vlp.encoder import BaseEncoder
from vlp.errors import InputError, RunError
from vlp.retrieval.embedding.columns import as_type, schema_of
from vlp.retrieval.embedding.copies import Copy, Distinct, find_copies, without_copies
from vlp.retrieval.embedding.decoding import Prepared, default_workers, prepared_batches
from vlp.retrieval.embedding.items import Item

_BATCH = (64, 256)  # on a CPU and on anything else

Progress = Callable[[int], object]


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """How pictures are embedded.

    Args:
        batch_size: pictures in one pass; default 64 on a CPU, 256 on a GPU.
        workers: threads that decode; default a thread a core, at most 8.
        texts: also embed the first caption of each picture.
    """

    batch_size: int | None = None
    workers: int | None = None
    texts: bool = True

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} {value}: expected 1 or more")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A picture that was not embedded.

    Args:
        item: what it is in the data.
        problem: why.
        lasting: whether that stays until the picture changes; not so where a file was locked.
    """

    item: Item
    problem: str
    lasting: bool = True


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What came of pictures; the rows are those that could be read, each content once, in order.

    Args:
        vectors: [n, D], unit vectors of the pictures.
        text_vectors: [n, D], of the captions, zero where there is none; None without captions.
        table: n rows: image_path, caption, captions (if a picture has several), sha256, copies
            (paths) and their copy_marks, mark, width and height in pixels, and what the data add.
        problems: pictures that have no row, and their copies.
        copies: pictures that have the bytes of one before them, which has the row.
        cut: captions that were cut at the context length.
    """

    vectors: NDArray[np.float16]
    text_vectors: NDArray[np.float16] | None
    table: pa.Table
    problems: list[Problem]
    copies: list[Copy]
    cut: int = 0


def embed_pictures(
    encoder: BaseEncoder,
    items: Sequence[Item],
    options: EmbedOptions,
    progress: Progress = lambda done: None,
) -> Embedded:
    """Embed pictures, each content once; those that cannot be read are reported.

    Args:
        encoder: the model.
        items: of `open_data`.
        options: how.
        progress: is told the number of pictures that are done with, as they are.

    Raises:
        RunError: the device has too little memory for a batch.
    """
    copies = find_copies(items, options.workers or default_workers())
    distinct = without_copies(items, copies)
    progress(len(copies))
    return embed_distinct(encoder, distinct, options, schema_of(distinct.items), progress)


def embed_distinct(
    encoder: BaseEncoder,
    distinct: Distinct,
    options: EmbedOptions,
    schema: pa.Schema,
    progress: Progress,
) -> Embedded:
    """The same for pictures whose copies are known.

    Args:
        schema: of the table.

    Raises:
        RunError: as `embed_pictures`.
    """
    rows = _Rows(encoder, options.texts and any(item.captions for item in distinct.items))
    batches = prepared_batches(
        distinct.items,
        encoder.preprocess,
        encoder.image_size,
        options.batch_size or _BATCH[encoder.device.type != "cpu"],
        options.workers or default_workers(),
    )
    # `decode` ignores warnings; as their filters belong to the process, no thread may restore them
    with closing(batches), warnings.catch_warnings(action="ignore"):
        for batch in batches:
            rows.add(batch)
            progress(len(batch))
    failed = {bad.item.image_path: bad for bad in rows.problems}
    copies = [copy for copy in distinct.copies if copy.of not in failed]
    return Embedded(
        vectors=_joined(rows.vectors, encoder.width),
        text_vectors=_joined(rows.text_vectors, encoder.width) if rows.texts else None,
        table=_table(rows.prepared, copies, schema),
        problems=[
            *rows.problems,
            *(_of_copy(c, failed[c.of]) for c in distinct.copies if c.of in failed),
        ],
        copies=copies,
        cut=rows.cut,
    )


def _of_copy(copy: Copy, bad: Problem) -> Problem:
    told = f"the same as {copy.of}: {bad.problem}"
    return Problem(item=copy.item, problem=told, lasting=bad.lasting)


class _Rows:
    """What was embedded so far."""

    def __init__(self, encoder: BaseEncoder, texts: bool) -> None:
        self.encoder = encoder
        self.texts = texts
        self.vectors: list[NDArray[np.float16]] = []
        self.text_vectors: list[NDArray[np.float16]] = []
        self.prepared: list[Prepared] = []
        self.problems: list[Problem] = []
        self.cut = 0

    def add(self, batch: list[Prepared]) -> None:
        """Embed a batch."""
        good = []
        for own in batch:
            if own.pixels is None:
                self.problems.append(
                    Problem(item=own.item, problem=own.problem, lasting=own.lasting)
                )
            else:
                good.append(own)
        if not good:
            return
        try:
            vectors = self._images(good)
            texts = self._captions(good) if self.texts else np.zeros_like(vectors)
        except torch.OutOfMemoryError as error:
            told = str(error).partition(". ")[0]
            raise RunError(f"{told}; a smaller --batch-size needs less") from None
        finite = np.isfinite(np.hstack([vectors, texts]).sum(axis=1, dtype=np.float64))
        for own, sound in zip(good, finite, strict=True):
            if sound:
                self.prepared.append(replace(own, pixels=None))  # which are large
            else:
                told = "the model gives NaN or infinity for it"
                self.problems.append(Problem(item=own.item, problem=told))
        self.vectors.append(vectors[finite])
        self.text_vectors.append(texts[finite])

    def _images(self, good: list[Prepared]) -> NDArray[np.float16]:
        pixels = torch.stack([own.pixels for own in good if own.pixels is not None])
        return _half(self.encoder.encode_image(pixels))

    def _captions(self, good: list[Prepared]) -> NDArray[np.float16]:
        places = [place for place, own in enumerate(good) if own.item.captions]
        texts = [good[place].item.captions[0] for place in places]
        self.cut += self.encoder.truncated(texts)
        found = np.zeros((len(good), self.encoder.width), np.float16)
        if texts:
            found[places] = _half(self.encoder.encode_text(texts, report_truncated=False))
        return found


def _half(features: torch.Tensor) -> NDArray[np.float16]:
    array: NDArray[np.float16] = features.float().cpu().numpy().astype(np.float16)
    return array


def _joined(parts: list[NDArray[np.float16]], width: int) -> NDArray[np.float16]:
    return np.concatenate([np.empty((0, width), np.float16), *parts])


def _table(rows: Sequence[Prepared], copies: Sequence[Copy], schema: pa.Schema) -> pa.Table:
    of: dict[str, list[Item]] = {}
    for copy in copies:
        of.setdefault(copy.of, []).append(copy.item)
    same = [of.get(row.item.image_path, []) for row in rows]
    own: dict[str, list[Any]] = {
        "image_path": [row.item.image_path for row in rows],
        "caption": [row.item.caption for row in rows],
        "captions": [list(row.item.captions) for row in rows],
        "sha256": [row.sha256 for row in rows],
        "copies": [[item.image_path for item in items] for items in same],
        "copy_marks": [[item.mark for item in items] for items in same],
        "mark": [row.item.mark for row in rows],
        "width": [row.width for row in rows],
        "height": [row.height for row in rows],
    }
    columns = []
    for field in schema:
        values = own.get(field.name)
        if values is None:
            metadata = (row.item.metadata.get(field.name) for row in rows)
            values = [as_type(value, field.type) for value in metadata]
        columns.append(pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=schema)
