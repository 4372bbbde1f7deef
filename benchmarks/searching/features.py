"""Vectors that lie as those of CLIP do, in any number.

What is imitated was measured on 500 pairs of ViT-B/32 features of COCO: two pictures have a cosine
of 0.53 +- 0.10, the nearest of 500 one of 0.80; a picture and its caption have 0.31, and any other
0.16; variances along principal axes fall about as 1/i, with a participation ratio of 43. A picture
is the mean picture + what its caption tells + what it does not; a caption lies around a mean of its
own, the modality gap. Both parts are sums over levels (topic, scene, this one), so that there are
neighbourhoods within neighbourhoods. Nearness to the nearest is on the hard side: the dimension
that 10 neighbours tell of is 23, that of the real features 14.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

_TOPICS, _SCENES = 3000, 100_000
_LEVELS = (0.5, 0.25, 0.25)  # of the variance: topic, scene, this one
_MEANS = (0.73, 0.72)  # lengths of the mean picture and the mean caption
_BETWEEN_MEANS = 0.31  # their cosine
_TOLD, _UNTOLD_PICTURE, _UNTOLD_TEXT = 0.15, 0.32, 0.335  # variances
_SHARED_AXES = 0.2  # of what a caption has alone, along the axes of pictures


@dataclass
class World:
    """Where pictures and captions come from.

    Args:
        dim: length of a vector.
        seed: of the topics and scenes.
    """

    dim: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        at = np.arange(1, self.dim + 1)
        variances = np.exp(-at / (0.35 * self.dim)) / (at + 1.5)
        self.scale = np.sqrt(variances / variances.sum()).astype(np.float32)
        self.other_scale = rng.permutation(self.scale)
        self.axes = np.linalg.qr(rng.standard_normal((self.dim, self.dim)))[0].astype(np.float32)
        one, other = np.linalg.qr(rng.standard_normal((self.dim, 2)))[0].T.astype(np.float32)
        tilted = _BETWEEN_MEANS * one + np.sqrt(1 - _BETWEEN_MEANS**2, dtype=np.float32) * other
        self.mean_picture, self.mean_text = _MEANS[0] * one, _MEANS[1] * tilted
        weights = (np.arange(_TOPICS) + 10.0) ** -0.8
        self.topic_of = rng.choice(_TOPICS, _SCENES, p=weights / weights.sum())
        self.topics = self._normal(rng, 2 * _TOPICS).reshape(2, _TOPICS, self.dim)
        scenes = self._normal(rng, 2 * _SCENES).astype(np.float16)
        self.scenes = scenes.reshape(2, _SCENES, self.dim)

    def pairs(self, number: int, seed: int) -> tuple[Vectors, Vectors]:
        """Unit vectors [n, D] of pictures and of their captions."""
        rng = np.random.default_rng([self.seed, seed])
        scene = rng.integers(0, _SCENES, number)
        told, untold = (self._content(rng, scene, kind) for kind in (0, 1))
        own = np.sqrt(_SHARED_AXES) * self._normal(rng, number)
        own += np.sqrt(1 - _SHARED_AXES) * self._normal(rng, number, self.other_scale)
        told *= np.sqrt(_TOLD)
        pictures = self.mean_picture + (told + np.sqrt(_UNTOLD_PICTURE) * untold) @ self.axes
        texts = self.mean_text + (told + np.sqrt(_UNTOLD_TEXT) * own) @ self.axes
        return unit(pictures), unit(texts)

    def _content(self, rng: np.random.Generator, scene: NDArray[np.int64], kind: int) -> Vectors:
        topic, place, this = np.sqrt(_LEVELS, dtype=np.float32)
        found: Vectors = topic * self.topics[kind, self.topic_of[scene]]
        found += place * self.scenes[kind, scene]
        found += this * self._normal(rng, len(scene))
        return found

    def _normal(
        self, rng: np.random.Generator, number: int, scale: Vectors | None = None
    ) -> Vectors:
        drawn = rng.standard_normal((number, self.dim), dtype=np.float32)
        drawn *= self.scale if scale is None else scale
        return drawn


class Uniform:
    """Vectors without neighbourhoods, the worst case of approximate search; no real ones are so."""

    def __init__(self, dim: int = 512) -> None:
        self.dim = dim

    def pairs(self, number: int, seed: int) -> tuple[Vectors, Vectors]:
        """Unit vectors [n, D] that have nothing to do with one another."""
        rng = np.random.default_rng(seed)
        one, other = rng.standard_normal((2, number, self.dim), dtype=np.float32)
        return unit(one), unit(other)


def unit(vectors: Vectors) -> Vectors:
    """The vectors at length 1."""
    found: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found
