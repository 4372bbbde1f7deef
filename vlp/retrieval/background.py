"""What a cosine is compared with: how generic queries score on the same picture.

Cosines of a dual encoder between a text and a fitting picture lie around 0.2 to 0.3, with another
model elsewhere, so the number alone tells nobody anything. The share of generic queries that score
lower on this very picture does.
"""

import itertools
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlp.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

TEXTS = 1000
_NEIGHBOURS = 10  # of which hubness is the mean, as in Conneau et al. 2018
_TEMPLATES = ("a photo of a {}", "a picture of a {}", "{}", "a {} outdoors", "people and a {}")
_BLOCK = 8192  # rows at a time

Vectors32 = NDArray[np.float32]


@dataclass(frozen=True)
class Background:
    """Unit vectors of generic texts.

    Args:
        texts: [b, D] float32.
    """

    texts: Vectors32

    def write(self, path: Path) -> None:
        """Write a file for `read_background`."""
        with open(path, "wb") as file:
            np.savez(file, texts=self.texts.astype(np.float16))

    def hubness(self, vectors: NDArray[Any]) -> Vectors32:
        """Mean of the 10 largest cosines of each vector with the background, [n].

        r(x) of cross-domain similarity local scaling (Conneau et al. 2018, section 2.3), with the
        background in the place of the test queries, as a querybank (Bogolin et al. 2022).
        """
        found = np.empty(len(vectors), np.float32)
        for at in range(0, len(vectors), _BLOCK):
            part = np.asarray(vectors[at : at + _BLOCK], np.float32)
            found[at : at + _BLOCK] = mean_of_largest(part @ self.texts.T)
        return found


def mean_of_largest(cosines: Vectors32) -> Vectors32:
    """Mean of the 10 largest of each row, [n, b] -> [n]."""
    count = min(_NEIGHBOURS, cosines.shape[1])
    found: Vectors32 = np.partition(cosines, -count, axis=1)[:, -count:].mean(axis=1)
    return found


def make_background(encode_text: "Callable[[Sequence[str]], Tensor]") -> Background:
    """Encode the generic texts: names of things in everyday phrases."""
    return Background(encode_text(generic_texts()).float().cpu().numpy())


def generic_texts() -> list[str]:
    """1,000 texts that have nothing to do with any picture in particular."""
    from open_clip import IMAGENET_CLASSNAMES

    phrases = itertools.cycle(_TEMPLATES)
    return [next(phrases).format(name) for name in IMAGENET_CLASSNAMES[:TEXTS]]


def read_background(path: Path) -> Background:
    """What `Background.write` wrote.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            texts = arrays["texts"].astype(np.float32)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if texts.ndim != 2 or not len(texts) or not np.isfinite(texts).all():
        raise InputError(f"{path} is damaged: it holds no vectors of texts")
    return Background(texts)
