"""The scenes nearest to each scene: pictures that are easily taken for it, yet another caption's.

Scenes are near by the number of things that both captions say alike: colours, shapes, sizes,
relation or place, count, background, texture. Scenes of which the same is said are no neighbours,
as the caption of one is true of the other.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_tools.world.captions import INVERSE
from data_tools.world.scenes import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    RELATIONS,
    SHAPES,
    TEXTURES,
    Scene,
    Thing,
)
from vlp.data.numbers import NUMBERS
from vlp.progress import bar

NEIGHBOURS = 3
_BITS = 4  # of one field; the longest list of choices has nine
_SIZES = ("", "small", "large")

Pool = tuple[str, int]  # kind of scene, number of fields; what differs in it is not compared
Content = tuple[Pool, int]
Packed = NDArray[np.int64]


def packed_content(scene: Scene) -> Content:
    """What a caption says of a scene as fields of four bits, and the scenes to compare it with.

    A scene whose caption says less, no number or no further object, is only compared with its
    like: 'some red circles' is true of five, and of five beside a star.
    """
    things, relation = scene.things, scene.relation
    if relation in ("to the right of", "below"):
        things, relation = things[::-1], INVERSE[relation]  # the same, said from the other side
    if scene.kind == "between":
        things = (things[0], *sorted(things[1:], key=_fields))  # true of the mirrored picture too
    fields = [BACKGROUNDS.index(scene.background), TEXTURES.index(scene.texture)]
    for thing in things:
        fields += _fields(thing)
    if scene.kind == "single":
        fields.append(list(PLACES).index(scene.place))
    elif scene.kind == "pair":
        fields.append(list(RELATIONS).index(relation))
    elif scene.kind == "count" and scene.numbered:
        fields.append(list(NUMBERS).index(scene.count))
    packed = 0
    for value in fields:
        packed = packed << _BITS | value
    return (scene.kind, len(fields)), packed


def _fields(thing: Thing) -> list[int]:
    look = [COLOURS.index(thing.colour), SHAPES.index(thing.shape)]
    return [*look, _SIZES.index(thing.size)] if thing.size else look


def neighbours_of(contents: Sequence[Content]) -> list[list[int]]:
    """For each scene the places of up to three others, the nearest first, each of other content.

    Args:
        contents: of `packed_content`, one for each scene.
    """
    pools: dict[Pool, list[int]] = {}
    for place, (pool, _) in enumerate(contents):
        pools.setdefault(pool, []).append(place)
    found: list[list[int]] = [[] for _ in contents]
    with bar("finding neighbours", "scenes", len(contents)) as done:
        for (_, fields), places in pools.items():
            packed = np.array([contents[place][1] for place in places], dtype=np.int64)
            for place, row in zip(places, _nearest_scenes(packed, fields).tolist(), strict=True):
                found[place] = [places[other] for other in row if other >= 0]
            done.update(len(places))
    return found


def _nearest_scenes(packed: Packed, fields: int) -> Packed:
    """Rows of neighbours [N, NEIGHBOURS] of contents [N]; -1 where there are too few others."""
    contents, which, counts = np.unique(packed, return_inverse=True, return_counts=True)
    near = nearest_contents(contents, fields)[which]  # [N, NEIGHBOURS]
    members = np.argsort(which, kind="stable")  # scenes by content
    first = np.cumsum(counts) - counts
    # scenes of one content take turns, so that none is everybody's neighbour
    turn = np.arange(len(packed))[:, None] % counts[near]
    return np.where(near >= 0, members[first[near] + turn], -1)


def nearest_contents(contents: Packed, fields: int) -> Packed:
    """Rows of the nearest others [U, NEIGHBOURS] of different contents [U]; -1 where none is left.

    Contents that differ in at most d fields are equal with some d fields masked out. So they are
    found by sorting under each mask, for d = 1, 2, ... until every row is full: exact, without
    comparing all with all.
    """
    nearest = _Nearest(len(contents))
    draw = np.random.default_rng(0)
    for differing in range(1, fields + 1):
        rows = nearest.unfilled()
        if not len(rows):
            break
        for masked in itertools.combinations(range(fields), differing):
            mask = sum((1 << _BITS) - 1 << field * _BITS for field in masked)
            # near ones abound: by lot, as else the first masks, so the same fields, always win
            lots = differing + draw.random(len(rows))
            nearest.take(contents & ~mask, rows, lots)
    return nearest.found


class _Nearest:
    """The best found so far for every content, the nearest first."""

    def __init__(self, total: int) -> None:
        self.found = np.full((total, NEIGHBOURS), -1)
        self._rank = np.full((total, NEIGHBOURS), np.inf)  # differing fields plus a lot below 1

    def unfilled(self) -> Packed:
        """The rows that lack some."""
        return np.flatnonzero(self.found[:, -1] < 0)

    def take(self, keys: Packed, rows: Packed, rank: NDArray[np.float64]) -> None:
        """Put contents of equal key into `rows`, where `rank` is better than what is there.

        The next NEIGHBOURS of the same key are enough, as each is new or there already.
        """
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        start = np.searchsorted(ordered, keys[rows])
        size = np.searchsorted(ordered, keys[rows], side="right") - start
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        for step in range(1, NEIGHBOURS + 1):
            other = order[start + (place[rows] - start + step) % size]
            better = (step < size) & (rank < self._rank[rows, -1])
            better &= (self.found[rows] != other[:, None]).all(axis=1)
            into = rows[better]
            self.found[into, -1], self._rank[into, -1] = other[better], rank[better]
            sorting = np.argsort(self._rank[into], axis=1, kind="stable")
            for table in (self.found, self._rank):
                table[into] = np.take_along_axis(table[into], sorting, axis=1)
