"""A query as one unit vector, and the background queries of the same kind."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlp.errors import InputError
from vlp.retrieval.background import Background

Vectors32 = NDArray[np.float32]


@dataclass(frozen=True)
class Direction:
    """A query's parts, already weighted and added up.

    Args:
        text: [D] sum of the texts' weighted vectors, 0 without one.
        image: [D] the same of everything else.
        negative: [D] what is subtracted.
        text_weight: sum of the texts' weights.
        image_weight: that of everything else.
    """

    text: Vectors32
    image: Vectors32
    negative: Vectors32
    text_weight: float
    image_weight: float

    @property
    def unit(self) -> Vectors32:
        """The query, [D].

        Raises:
            InputError: its parts cancel out.
        """
        return _normalised(self.text + self.image - self.negative)

    def background(self, texts: Vectors32, pictures: Vectors32) -> Vectors32:
        """Generic queries [b, D] with the same weights and the same negatives.

        Args:
            texts: [b1, D] generic texts.
            pictures: [b2, D] pictures of the index; as many pairs are made as the shorter has.
        """
        parts = []
        if self.text_weight:
            parts.append(self.text_weight * texts)
        if self.image_weight:
            parts.append(self.image_weight * pictures)
        count = min(map(len, parts))
        total = np.sum([part[:count] for part in parts], axis=0) - self.negative
        norms = np.linalg.norm(total, axis=1, keepdims=True)
        found: Vectors32 = (total / np.maximum(norms, 1e-12)).astype(np.float32)
        return found


def direction(
    texts: Vectors32,
    images: Vectors32,
    negatives: Vectors32,
    weights: Sequence[float],
    background: Background | None,
) -> Direction:
    """Add up a query.

    Args:
        texts: [t, D] unit vectors.
        images: [i, D] unit vectors.
        negatives: [m, D] unit vectors of texts that are not to be seen.
        weights: of texts and images, in this order; empty for 1 each.
        background: gives what all texts have in common.
    """
    weights = list(weights) or [1.0] * (len(texts) + len(images))
    of_texts = np.asarray(weights[: len(texts)], np.float32)
    of_images = np.asarray(weights[len(texts) :], np.float32)
    return Direction(
        text=of_texts @ texts,
        image=of_images @ images,
        negative=_NEGATIVE * negatives.sum(axis=0),
        text_weight=float(of_texts.sum()),
        image_weight=float(of_images.sum()),
    )


_NEGATIVE = 0.5  # share of a negative text that is subtracted


def _normalised(vector: Vectors32) -> Vectors32:
    norm = np.linalg.norm(vector)
    if not norm > 1e-6:
        raise InputError("the query's parts cancel out: there is nothing left to search for")
    found: Vectors32 = (vector / norm).astype(np.float32)
    return found
