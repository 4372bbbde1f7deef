"""Which texts and pictures belong together, and which nearly do: one form for every such set.

A comparison says that one (picture, text) must score higher than another; an item is solved when
all its comparisons hold. SugarCrepe's items have one comparison, Winoground's four.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Integers = NDArray[np.int64]
TEXT, IMAGE = "text", "image"  # what is chosen in a comparison


@dataclass(frozen=True, kw_only=True)
class Selection:
    """c comparisons of k items over the pictures of a data set and t texts."""

    texts: list[str]  # [t]
    right: Integers  # [c, 2] (picture, text) that belong together
    wrong: Integers  # [c, 2] (picture, text) that do not
    item: Integers  # [c] in 0..k-1, each with a comparison
    chosen: list[str]  # [c] "text" where the texts differ, "image" where the pictures do
    kinds: list[str]  # [c] group of the comparison for the breakdown, "" for none
    names: list[str]  # [k]
    # how the benchmark sums up: kinds with fewer items than this are left out of the macro average
    macro_from: int = 1
    left_out: int = 0  # items that the set has besides: invalid by its own votes, without a picture
    identical: int = 0  # comparisons of a pair with itself, which nobody can win: left out

    def __len__(self) -> int:
        return len(self.names)

    def limited(self, limit: int) -> list[int]:
        """The pictures of evenly spaced items, at most `limit` where one item has no more."""
        count = min(limit, len(self))
        while True:
            stay = np.zeros(len(self), dtype=np.bool_)
            stay[[i * len(self) // count for i in range(count)]] = True
            rows = stay[self.item]
            pictures = np.union1d(self.right[rows, 0], self.wrong[rows, 0])
            if len(pictures) <= limit or count == 1:
                return [int(picture) for picture in pictures]
            count = max(1, count * limit // len(pictures))

    def units(self, photo: Integers) -> Integers:
        """The unit of each item, [k] from 0: items that share a photo were not drawn independently.

        Args:
            photo: of each picture of the data set, [n]; several pictures may be parts of one.
        """
        photos = int(photo.max()) + 1
        item = np.concatenate([self.item, self.item])
        of_item = photo[np.concatenate([self.right[:, 0], self.wrong[:, 0]])]
        edges = (np.ones(len(item)), (of_item, photos + item))
        size = photos + len(self)
        _, component = connected_components(coo_array(edges, shape=(size, size)), directed=False)
        return np.unique(component[photos:], return_inverse=True)[1].astype(np.int64)

    def subset(self, positions: Sequence[int], pictures: int) -> "Selection":
        """The items all of whose pictures are among `positions`, which are numbered anew.

        Args:
            positions: pictures that stay, in their new order.
            pictures: how many there were.
        """
        place = np.full(pictures, -1, dtype=np.int64)
        place[np.asarray(positions, dtype=np.int64)] = np.arange(len(positions))
        there = (place[self.right[:, 0]] >= 0) & (place[self.wrong[:, 0]] >= 0)  # [c]
        whole = np.ones(len(self), dtype=np.bool_)
        whole[self.item[~there]] = False
        return self._items(whole, place)

    def _items(self, stay: NDArray[np.bool_], place: Integers) -> "Selection":
        rows = np.flatnonzero(stay[self.item])
        number = np.cumsum(stay) - 1
        right, wrong = self.right[rows].copy(), self.wrong[rows].copy()
        right[:, 0], wrong[:, 0] = place[right[:, 0]], place[wrong[:, 0]]
        return replace(
            self,
            right=right,
            wrong=wrong,
            item=number[self.item[rows]],
            chosen=[self.chosen[i] for i in rows],
            kinds=[self.kinds[i] for i in rows],
            names=[name for name, there in zip(self.names, stay, strict=True) if there],
            left_out=self.left_out + int((~stay).sum()),
        )


@dataclass(frozen=True, kw_only=True)
class Judgements:
    """Ratings by people of (picture, text), j of them by r raters."""

    texts: list[str]  # [t]
    image: Integers  # [j] pictures of the data set
    text: Integers  # [j]
    ratings: NDArray[np.float64]  # [j, r], higher is better
    # Kendall's variant in which the numbers of this set are reported, "b" or "c"
    variant: str

    def subset(self, positions: Sequence[int], pictures: int) -> "Judgements":
        """As `Selection.subset`."""
        place = np.full(pictures, -1, dtype=np.int64)
        place[np.asarray(positions, dtype=np.int64)] = np.arange(len(positions))
        rows = np.flatnonzero(place[self.image] >= 0)
        return replace(
            self, image=place[self.image[rows]], text=self.text[rows], ratings=self.ratings[rows]
        )
