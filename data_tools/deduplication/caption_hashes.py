"""Captions as 64 bits each, by which those of samples and of evaluation sets are compared."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from data_tools.annotate import HEAD, Made, Recipe
from data_tools.eval_captions import evaluation_captions, normalised
from data_tools.samples import TEXTS, read_samples
from vlp.data.source import UnusableSampleError


def caption_recipe(name: str) -> Recipe:
    """Of the hidden sidecar with the hashes of each sample's captions."""
    return Recipe(
        name=f"{name}/.captions",
        schema=pa.schema([*HEAD, ("captions", pa.list_(pa.uint64()))]),
        settings={"signature": "captions", "version": 2},
        what="hashing captions",
    )


def hash_captions(shard: Path, arguments: None) -> Made:
    """The hashes of every caption of each sample; none where it has no readable one."""
    del arguments
    rows = []
    for sample in read_samples(shard, TEXTS):
        try:
            texts = set(map(normalised, sample.captions())) - {""}
        except UnusableSampleError:
            texts = set()
        hashes = sorted(map(_hashed, texts))
        rows.append({"key": sample.key, "src_sha256": sample.src_sha256, "captions": hashes})
    return Made(rows, Counter(samples=len(rows)))


def hashes_of_evaluation(places: Sequence[str]) -> dict[int, str]:
    """The captions of --captions: hash -> where it stands first.

    Raises:
        InputError: no caption can be read of one of them.
    """
    captions = evaluation_captions(tuple(places), "--captions")
    return {_hashed(text): where for text, where in captions.items()}


def _hashed(text: str) -> int:
    """The first 64 bits of sha256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
