"""What one shard holds: an array of numbers for its samples, and counts of everything else."""

import hashlib
import io
import unicodedata
import warnings
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from data_tools.samples import read_samples
from vlp.data.source import RawSample, UnusableSampleError

MEASURES = ("width", "height", "picture_bytes", "captions", "characters", "words")
_NO_LETTERS = "no letters"


def _no_hashes() -> NDArray[np.uint64]:
    return np.zeros((0, 2), np.uint64)


@dataclass
class Described:
    """A shard, described."""

    shard: Path
    bytes: int
    sidecars: dict[str, int]  # name -> rows
    keys: list[str] = field(default_factory=list)
    # [samples, len(MEASURES)]; -1 where it cannot be told
    measures: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, len(MEASURES)), int))
    # [samples, 2], hashes of the picture's bytes and of the source caption; 0 where there is none
    pictures: NDArray[np.uint64] = field(default_factory=_no_hashes)
    texts: NDArray[np.uint64] = field(default_factory=_no_hashes)
    formats: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    members: Counter[str] = field(default_factory=Counter)  # by extension
    scripts: Counter[str] = field(default_factory=Counter)  # of source captions
    words: Counter[str] = field(default_factory=Counter)  # captions that hold the word
    problems: Counter[str] = field(default_factory=Counter)


def describe(shard: Path) -> Described:
    """Read a shard once, pictures by their headers.

    Raises:
        InputError: it has no index.
    """
    found = Described(shard, shard.stat().st_size, _sidecars(shard))
    measures, pictures, texts = [], [], []
    for sample in read_samples(shard):
        found.keys.append(sample.key)
        found.members.update(sample.members.keys())
        picture, picture_hash = _measure_picture(sample, found)
        text, text_hash = _measure_text(sample, found)
        measures.append([*picture, *text])
        pictures.append(picture_hash)
        texts.append(text_hash)
    found.measures = np.array(measures, np.int64).reshape(-1, len(MEASURES))
    found.pictures = np.array(pictures, np.uint64).reshape(-1, 2)
    found.texts = np.array(texts, np.uint64).reshape(-1, 2)
    return found


def _measure_picture(sample: RawSample, found: Described) -> tuple[list[int], tuple[int, int]]:
    try:
        data = sample.image
    except UnusableSampleError:
        found.problems["no picture"] += 1
        return [-1, -1, -1], (0, 0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                found.formats[image.format or "unknown"] += 1
                found.modes[image.mode] += 1
                return [*image.size, len(data)], _hash(data)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        found.problems["picture whose header cannot be read"] += 1
        return [-1, -1, len(data)], _hash(data)


def _measure_text(sample: RawSample, found: Described) -> tuple[list[int], tuple[int, int]]:
    try:
        captions = sample.captions()
    except UnusableSampleError:
        found.problems["no readable caption"] += 1
        return [0, -1, -1], (0, 0)
    text = captions[0]
    words = text.split()
    found.scripts[_script(text)] += 1
    found.words.update({word.strip(".,;:!?\"'()").lower() for word in words})
    return [len(captions), len(text), len(words)], _hash(text.encode("utf-8", "surrogatepass"))


def _script(text: str) -> str:
    """The writing system of most of a text's letters."""
    scripts = Counter(map(_script_of, filter(str.isalpha, text)))
    return min(scripts, key=lambda name: (-scripts[name], name)) if scripts else _NO_LETTERS


@lru_cache(maxsize=4096)
def _script_of(letter: str) -> str:
    # names of letters begin with their script: LATIN SMALL LETTER A, HANGUL SYLLABLE GA
    return unicodedata.name(letter, "UNNAMED").partition(" ")[0].capitalize()


def _hash(data: bytes) -> tuple[int, int]:
    digest = hashlib.blake2b(data, digest_size=16).digest()
    return int.from_bytes(digest[:8]), int.from_bytes(digest[8:])


def _sidecars(shard: Path) -> dict[str, int]:
    folder = shard.parent / "annotations"
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    paths = {name: folder / name / f"{shard.stem}.parquet" for name in names}
    return {name: pq.read_metadata(path).num_rows for name, path in paths.items() if path.is_file()}
