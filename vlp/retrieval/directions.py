"""A query as one unit vector, and generic queries of the same kind that it is compared with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vlp.errors import InputError

Vectors32 = NDArray[np.float32]
Kind = Literal["text", "picture", "other"]

# The weight of all negatives together. Over 55 pairs of nouns on 2,000 photos of Flickr8k (dev and
# test), with a small model trained on the rest, the captions of the 20 best for "a P" without "N"
# named P in 54% and N in 27% at weight 0, 50% and 22% at 0.25, 45% and 17% at 0.5, 32%, 11% at 1.
# Centring N by the mean text, projecting it out, and leaving out what it shares with P lie on the
# same curve. The mean of several keeps the query: with two, 46% name P, and 40% with their sum.
NEGATIVE = 0.5


@dataclass(frozen=True)
class Part:
    """Something that is to be seen.

    Args:
        vector: [D] unit vector.
        weight: more than 0.
        kind: of what it is the vector; "other" for vectors from elsewhere.
        row: of the index, if it is one.
    """

    vector: Vectors32
    weight: float
    kind: Kind
    row: int | None = None


@dataclass(frozen=True)
class Generic:
    """Generic queries.

    Args:
        vectors: [b, D] unit vectors.
        pictures: [b, p] which pictures went into each, as places in the sample.
    """

    vectors: Vectors32
    pictures: NDArray[np.int64]


@dataclass(frozen=True)
class Direction:
    """A query.

    Args:
        parts: at least one.
        negatives: [m, D] unit vectors of texts that are not to be seen.
    """

    parts: Sequence[Part]
    negatives: Vectors32

    @property
    def unit(self) -> Vectors32:
        """The weighted sum of the parts less that of the negatives, as a unit vector [D].

        Raises:
            InputError: its parts cancel out.
        """
        total = np.sum([part.weight * part.vector for part in self.parts], axis=0)
        vector = total - self._negative
        norm = np.linalg.norm(vector)
        if not norm > 1e-4 * sum(part.weight for part in self.parts):
            raise InputError("the query's parts cancel out: there is nothing left to search for")
        found: Vectors32 = (vector / norm).astype(np.float32)
        return found

    def generic(self, texts: Vectors32, pictures: Vectors32) -> Generic | None:
        """Queries that have a generic text or picture in the place of each part.

        The weights and the negatives stay. Several texts become several different generic ones,
        since a mean of texts is nearer to all pictures than one text is.

        Args:
            texts: [b1, D] generic texts.
            pictures: [b2, D] pictures of the index.

        Returns:
            As many as the larger of what is needed has; None where a kind is not to be had.
        """
        pools = {"text": texts, "picture": pictures}
        kinds = {part.kind for part in self.parts}
        if any(not len(pools.get(kind, ())) for kind in kinds):
            return None
        count = max(len(pools[kind]) for kind in kinds)
        total = np.zeros((count, len(self.parts[0].vector)), np.float32) - self._negative
        used = []
        for part, places in self._places(count, {kind: len(pools[kind]) for kind in kinds}):
            total += part.weight * pools[part.kind][places]
            if part.kind == "picture":
                used.append(places)
        norms = np.linalg.norm(total, axis=1, keepdims=True)
        return Generic(
            vectors=(total / np.maximum(norms, 1e-12)).astype(np.float32),
            pictures=np.stack(used, axis=1) if used else np.empty((count, 0), np.int64),
        )

    @property
    def _negative(self) -> Vectors32:
        if not len(self.negatives):
            return np.zeros(self.negatives.shape[1], np.float32)
        weight = NEGATIVE * sum(part.weight for part in self.parts)
        found: Vectors32 = weight * self.negatives.mean(axis=0, dtype=np.float32)
        return found

    def _places(
        self, count: int, sizes: dict[Kind, int]
    ) -> Iterator[tuple[Part, NDArray[np.int64]]]:
        """Of each part the places [count] in its pool; parts of a kind begin at other places."""
        for kind, size in sizes.items():
            own = [part for part in self.parts if part.kind == kind]
            for number, part in enumerate(own):
                yield part, (np.arange(count) + number * size // len(own)) % size
