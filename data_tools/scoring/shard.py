"""The scores and embeddings of one shard."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from data_tools.annotate import HEAD, Made, Recipe, write_sidecar
from data_tools.samples import TEXTS, open_index, read_samples
from data_tools.scoring.model_worker import WorkerModel, loaded
from vlp.data.images import UnreadableImageError, decode_rgb
from vlp.data.index import IMAGE_EXTENSIONS
from vlp.data.source import RawSample, UnusableSampleError
from vlp.encoder import BaseEncoder
from vlp.errors import InputError

Captions = Literal["first", "all"]
SCORES = pa.schema([*HEAD, ("clip_score", pa.float32()), ("error", pa.string())])
SCORES_OF_ALL = pa.schema(
    [
        *HEAD,
        ("clip_score", pa.float32()),
        ("clip_score_max", pa.float32()),
        ("clip_scores", pa.list_(pa.float32())),
        ("error", pa.string()),
    ]
)


def embeddings_schema(width: int) -> pa.Schema:
    """`image` [D] and `text` [captions, D]: what a teacher's sidecar holds."""
    vector = pa.list_(pa.float16(), width)
    return pa.schema([*HEAD, ("image", vector), ("text", pa.list_(vector))])


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What is to be done with each shard."""

    model: WorkerModel
    captions: Captions
    batch: int
    embeddings: Recipe | None  # of the second sidecar, where one is asked for


@dataclass(frozen=True)
class _Texts:
    """The captions to score of one sample, the source caption first; or why there are none."""

    texts: tuple[str, ...] = ()
    error: str = ""


def score_shard(shard: Path, scoring: Scoring) -> Made:
    """The rows of `scores`; the embeddings, where asked for, are written beside them.

    Raises:
        InputError: the batch is too large for the device, or the model gives no numbers.
    """
    encoder = loaded(scoring.model)
    heads = open_index(shard).table.select(["key", "src_sha256"])
    found = [_texts(sample, scoring.captions) for sample in read_samples(shard, TEXTS)]
    try:
        places, features = _encode_texts([t for one in found for t in one.texts], encoder, scoring)
        pictures = list(_encode_pictures(shard, encoder, scoring))
    except torch.OutOfMemoryError:
        raise InputError(f"--batch {scoring.batch}: too much for the GPU; give less") from None
    texts = [features[[places[text] for text in one.texts]] for one in found]  # of [captions, D]
    rows, counts = [], Counter(samples=len(heads))
    for head, own, vectors, (image, why) in zip(
        heads.to_pylist(), found, texts, pictures, strict=True
    ):
        scores = None if image is None or own.error else cosines(image, vectors)
        error = "; ".join(filter(None, (why, own.error))) or None
        rows.append(head | _columns(scores, scoring.captions) | {"error": error})
        counts["unreadable" if why else "without a caption" if own.error else "scored"] += 1
    # the source caption is among the captions again where all are scored
    first = int(scoring.captions == "all")
    captions = [text for one in found for text in one.texts[first:]]
    counts["captions"] = len(captions)
    counts["captions cut"] = encoder.truncated(captions)
    if scoring.embeddings is not None:
        images, own_texts = [image for image, _ in pictures], [rows[first:] for rows in texts]
        table = _embeddings(heads, images, own_texts, scoring.embeddings)
        write_sidecar(shard, scoring.embeddings, Made(table))
    return Made(rows, counts)


def cosines(image: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Cosine of a picture [D] and each text [n, D] -> [n], in float64.

    Features in half precision are not of unit length to the last bit, so they are divided by it.
    """
    one, several = image.astype(np.float64), texts.astype(np.float64)
    products = (several * one).sum(1)
    lengths = np.linalg.norm(several, axis=1) * np.linalg.norm(one)
    found: np.ndarray = products / lengths
    return found


def _texts(sample: RawSample, captions: Captions) -> _Texts:
    try:
        source = sample.caption
        if not source.strip():
            raise UnusableSampleError("empty caption")
        return _Texts((source, *sample.captions())) if captions == "all" else _Texts((source,))
    except UnusableSampleError as error:
        return _Texts(error=str(error))


def _columns(scores: np.ndarray | None, captions: Captions) -> dict[str, Any]:
    if captions == "first":
        return {"clip_score": None if scores is None else scores[0]}
    if scores is None:
        return {"clip_score": None, "clip_score_max": None, "clip_scores": None}
    return {"clip_score": scores[0], "clip_score_max": scores.max(), "clip_scores": scores[1:]}


def _encode_texts(
    texts: Sequence[str], encoder: BaseEncoder, scoring: Scoring
) -> tuple[dict[str, int], np.ndarray]:
    """Each different text once, the shortest first, as a batch is as long as its longest one."""
    unique = sorted(set(texts), key=lambda text: (len(text), text))
    parts = [
        _numbers(_encode_batch(unique[start : start + scoring.batch], encoder), scoring)
        for start in range(0, len(unique), scoring.batch)
    ]
    rows = np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
    return {text: place for place, text in enumerate(unique)}, rows


def _encode_batch(texts: Sequence[str], encoder: BaseEncoder) -> Tensor:
    """One pass; what is cut is counted for the whole run."""
    return encoder.encode_text(texts, batch_size=len(texts), report_truncated=False)


def _encode_pictures(
    shard: Path, encoder: BaseEncoder, scoring: Scoring
) -> Iterator[tuple[np.ndarray | None, str]]:
    """Of each sample the embedding [D], or None and why."""
    for prepared in _prepared(shard, encoder, scoring):
        pixels = [picture for picture, _ in prepared if picture is not None]
        rows = iter(_numbers(encoder.encode_image(torch.stack(pixels)), scoring) if pixels else ())
        for picture, why in prepared:
            yield (None if picture is None else next(rows)), why


def _prepared(
    shard: Path, encoder: BaseEncoder, scoring: Scoring
) -> Iterator[list[tuple[Tensor | None, str]]]:
    """Batches of pixels [3, H, W], or None and why; the next batch is decoded meanwhile."""

    def prepare(sample: RawSample) -> tuple[Tensor | None, str]:
        try:
            return encoder.preprocess(Image.fromarray(decode_rgb(sample.image))), ""
        except (UnreadableImageError, UnusableSampleError) as error:
            return None, str(error)

    samples = read_samples(shard, IMAGE_EXTENSIONS)
    with ThreadPoolExecutor(scoring.model.threads) as pool:
        waiting: list[Future[tuple[Tensor | None, str]]] = []
        while chunk := list(islice(samples, scoring.batch)):
            ahead = [pool.submit(prepare, sample) for sample in chunk]
            if waiting:
                yield [future.result() for future in waiting]
            waiting = ahead
        if waiting:
            yield [future.result() for future in waiting]


def _numbers(features: Tensor, scoring: Scoring) -> np.ndarray:
    if not torch.isfinite(features).all():
        raise InputError(
            f"--model {scoring.model.source}: gives NaN or infinity with --precision "
            f"{scoring.model.precision}; its weights are broken or the precision too low"
        )
    rows: np.ndarray = features.float().cpu().numpy()
    return rows


def _embeddings(
    heads: pa.Table,
    images: Sequence[np.ndarray | None],
    texts: Sequence[np.ndarray],
    recipe: Recipe,
) -> pa.Table:
    """As `embeddings_schema`; `image` is null where the picture is unreadable."""
    width = recipe.schema.field("image").type.list_size
    blank = np.zeros(width, np.float32)
    rows = np.array([blank if image is None else image for image in images], np.float32)
    missing = pa.array([image is None for image in images], pa.bool_())
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(rows.astype(np.float16).ravel()), width, mask=missing
    )
    flat = np.concatenate([*texts, blank[None][:0]]).astype(np.float16)  # [all captions, D]
    offsets = np.cumsum([0, *map(len, texts)])
    lists = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.FixedSizeListArray.from_arrays(flat.ravel(), width)
    )
    return heads.append_column("image", vectors).append_column("text", lists)
