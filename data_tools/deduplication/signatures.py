"""What pictures are compared by: a hash of the bytes, or of what is seen. One pass over shards.

The signatures of a shard stay in a hidden sidecar, so that another distance needs no second pass.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from data_tools.annotate import HEAD, Made, Recipe
from data_tools.deduplication.perceptual_hash import perceptual_hash
from data_tools.samples import read_samples
from vlp.data.images import UnreadableImageError
from vlp.data.index import IMAGE_EXTENSIONS
from vlp.data.source import UnusableSampleError

By = Literal["exact", "phash"]
Signature = tuple[int, ...]  # of 64-bit words


def _sha256(data: bytes) -> Signature:
    """The first 128 bits of sha256: two of 10^12 pictures agree by chance once in 10^14 times."""
    digest = hashlib.sha256(data).digest()
    return int.from_bytes(digest[:8]), int.from_bytes(digest[8:16])


def _perceptual(data: bytes) -> Signature:
    return (perceptual_hash(data),)


SIGN: Mapping[By, Callable[[bytes], Signature]] = {"exact": _sha256, "phash": _perceptual}
WORDS: Mapping[By, int] = {"exact": 2, "phash": 1}


def signature_recipe(name: str, by: By) -> Recipe:
    """Of the hidden sidecar: `signature` [words] uint64, null where `error` says why."""
    words = pa.list_(pa.uint64(), WORDS[by])
    return Recipe(
        name=f"{name}/.{by}",
        schema=pa.schema([*HEAD, ("signature", words), ("error", pa.string())]),
        settings={"signature": by, "version": 1},
        what="hashing pictures",
    )


def sign_shard(shard: Path, by: By) -> Made:
    """The signature of each sample's picture."""
    rows = []
    for sample in read_samples(shard, IMAGE_EXTENSIONS):
        row: dict[str, Any] = {
            "key": sample.key,
            "src_sha256": sample.src_sha256,
            "signature": None,
            "error": None,
        }
        try:
            row["signature"] = SIGN[by](sample.image)
        except (UnreadableImageError, UnusableSampleError) as error:
            row["error"] = str(error)
        rows.append(row)
    return Made(rows, Counter(samples=len(rows)))


@dataclass(frozen=True)
class Vectors:
    """A column of equally long lists: which rows have one [n], and these [rows with one, width]."""

    there: np.ndarray
    values: np.ndarray


def vectors(column: pa.ChunkedArray) -> Vectors:
    """Read such a column.

    Raises:
        ValueError: the lists are not equally long.
    """
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # of no chunk
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    there = array.is_valid().to_numpy(zero_copy_only=False)
    flat = array.flatten().to_numpy(zero_copy_only=False)  # without what is null
    count = int(there.sum())
    if count and len(flat) % count:
        raise ValueError("lists of different length")
    return Vectors(there, flat.reshape(count, len(flat) // count if count else 0))
