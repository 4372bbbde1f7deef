"""Ranks in both directions from one pass over blocks of scores, exact, in bounded memory.

A block, [rows, columns] of scores, is first multiplied in float32. How far its elements can lie
from the scores is bounded, so that nearly all of them are certainly above or below what they are
compared with; only those within the bound are computed anew in float64. Where many are (features
that are all alike), and while lists of the best are still being filled, the whole block is
multiplied in float64. Counts and lists are the same either way.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlp.metrics.similarity import pair_scores

_BLOCK = (1024, 2048)  # rows and columns: 8 MB of scores, fastest while they stay in the cache
_NEAR = 1 / 32  # share of a block from which on float64 is faster for all of it
_WORD = 8  # bool is one byte, int64 eight


@dataclass(frozen=True)
class Block:
    """Scores of some rows and some columns; -inf where a column belongs to a row."""

    scores: Tensor  # [R, C] float32
    spans: tuple[slice, slice]  # the rows and the columns of the whole

    def aligned(self, values: Tensor, axis: int) -> Tensor:
        """Values of all rows (axis 0) or columns (axis 1) -> those of its own, to broadcast."""
        return values[self.spans[axis]].unsqueeze(1 - axis)


class Queries:
    """One direction: how the answers of Q queries stand against the wrong part of a gallery.

    `above` and `equal` count what scores higher than the answer and exactly as high. `score` and
    `place` are the best of the wrong ones, [Q, K], higher scores first, then lower places; -inf
    stands where the gallery has no more.
    """

    def __init__(self, axis: int, answer: Tensor, margin: Tensor, top: int) -> None:
        """Nothing is counted yet.

        Args:
            axis: 0 where the queries are the rows of the scores, 1 where they are the columns.
            answer: [Q] float32, the scores to compare with.
            margin: [Q] float64, how far float32 products can lie from the scores.
            top: K.
        """
        self.axis = axis
        self.answer = answer
        self.margin = margin
        self.low = _rounded(answer - margin, down=True)  # [Q], what is below is below the answer
        self.high = _rounded(answer + margin, down=False)
        self.above = torch.zeros_like(answer, dtype=torch.int64)
        self.equal = torch.zeros_like(self.above)
        self.score = answer.new_full((len(answer), top), -torch.inf)
        self.place = torch.full_like(self.score, -1, dtype=torch.int64)
        self.entry = torch.full_like(answer, -torch.inf)  # [Q], what is below enters no list

    def filled(self, spans: tuple[slice, slice]) -> bool:
        """Whether the lists of the queries in a block are full."""
        return bool((self.entry[spans[self.axis]] > -torch.inf).all())

    def sure(self, block: Block) -> tuple[Tensor, Tensor]:
        """From float32 products: how many are certainly above, and which must be looked at."""
        scores, axis = block.scores, self.axis
        above = scores > block.aligned(self.high, axis)
        near = above ^ (scores >= block.aligned(self.low, axis))
        near |= scores >= block.aligned(self.entry, axis)
        return _count(above, 1 - axis), near

    def look(self, block: Block, pairs: tuple[Tensor, Tensor], exact: Tensor) -> None:
        """Count and list elements whose scores are known by now.

        Args:
            block: float32 products.
            pairs: rows and columns in it, [P] each, ordered by rows and then columns.
            exact: [P], their scores.
        """
        axis = self.axis
        query = pairs[axis] + block.spans[axis].start
        answer = self.answer[query]
        open_ = block.scores[pairs] <= self.high[query]  # `sure` has counted the others
        self.above.index_add_(0, query, (open_ & (exact > answer)).long())
        self.equal.index_add_(0, query, (open_ & (exact == answer)).long())
        better = exact > self.score[query, -1]  # a tie is in a higher place: it displaces nothing
        if better.any():
            place = pairs[1 - axis] + block.spans[1 - axis].start
            chosen = query[better], exact[better], place[better]
            self._merge(*as_lists(*chosen, self.score.shape[1]))

    def count(self, block: Block) -> None:
        """Count and list a block of exact scores."""
        axis, span = self.axis, block.spans[self.axis]
        answer = block.aligned(self.answer, axis)
        self.above[span] += (block.scores > answer).sum(1 - axis)
        self.equal[span] += (block.scores == answer).sum(1 - axis)
        if (block.scores > block.aligned(self.score[:, -1], axis)).any():
            scores = block.scores if axis == 0 else block.scores.T.contiguous()
            score, place = _best(scores, self.score.shape[1])
            query = torch.arange(span.start, span.stop, device=score.device)
            self._merge(query, score, place + block.spans[1 - axis].start)

    def _merge(self, query: Tensor, score: Tensor, place: Tensor) -> None:
        """Put lists [q, k] of places that are all higher into those of the queries [q]."""
        top = self.score.shape[1]
        order = torch.cat([self.score[query], score], 1).sort(dim=1, descending=True, stable=True)
        places = torch.cat([self.place[query], place], 1).gather(1, order.indices)
        self.score[query], self.place[query] = order.values[:, :top], places[:, :top]
        worst = order.values[:, top - 1]
        self.entry[query] = _rounded(worst - self.margin[query], down=True)


def rank_blocks(rows: Tensor, columns: Tensor, owner: Tensor, ways: list[Queries]) -> None:
    """Show every score to all directions, but those of columns with their own rows.

    Args:
        rows: [N, D] features, finite.
        columns: [M, D].
        owner: [M], the row that each column belongs to.
        ways: filled in place.
    """
    screened = _float32_is_float32()
    for start in range(0, len(rows), _BLOCK[0]):
        x = rows[start : start + _BLOCK[0]]
        for first in range(0, len(columns), _BLOCK[1]):
            y = columns[first : first + _BLOCK[1]]
            own = owner[first : first + _BLOCK[1]] - start
            spans = slice(start, start + len(x)), slice(first, first + len(y))
            if screened and len(y) % _WORD == 0 and all(way.filled(spans) for way in ways):
                with torch.autocast(x.device.type, enabled=False):
                    products = _without(own, x.float() @ y.float().T)
                if _screen(Block(products, spans), x, y, ways):
                    continue
            scores = _without(own, (x.double() @ y.double().T).float())
            for way in ways:
                way.count(Block(scores, spans))


def _float32_is_float32() -> bool:
    """Whether no TF32 or bfloat16 may stand in for it, whose products have no useful bound."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # torch gives no answer once one backend's precision was set by itself
        return False


def _screen(block: Block, x: Tensor, y: Tensor, ways: list[Queries]) -> bool:
    """Rank from float32 products; False, and nothing is done, where that would not pay."""
    found = [way.sure(block) for way in ways]
    near = found[0][1]
    for _, more in found[1:]:
        near |= more
    pairs = _places(near)
    if pairs is None:
        return False
    for way, (above, _) in zip(ways, found, strict=True):
        way.above[block.spans[way.axis]] += above
    if len(pairs[0]):
        exact = pair_scores(x, y, pairs)
        for way in ways:
            way.look(block, pairs, exact)
    return True


def _without(own: Tensor, scores: Tensor) -> Tensor:
    """Take out, in place, the scores of columns with their own rows: own [C], scores [R, C]."""
    column = ((own >= 0) & (own < len(scores))).nonzero()[:, 0]
    scores[own[column], column] = -torch.inf
    return scores


def _rounded(values: Tensor, *, down: bool) -> Tensor:
    """float64 -> float32 that is certainly not above (down) or not below."""
    near = values.float()
    return torch.nextafter(near, torch.full_like(near, -torch.inf if down else torch.inf))


def _count(mask: Tensor, dim: int) -> Tensor:
    """mask.sum(dim) of a bool [R, C], eight bytes added at a time."""
    words = mask.view(torch.int64)  # [R, C / 8]
    # no byte of a sum of 255 of them overflows into the next
    sums = torch.stack([part.sum(dim) for part in torch.split(words, 255, dim)])  # [parts, -1]
    lanes = sums.view(torch.uint8)
    return lanes.sum(0) if dim == 0 else lanes.view(len(sums), -1, _WORD).sum((0, 2))


def _places(mask: Tensor) -> tuple[Tensor, Tensor] | None:
    """Rows and columns of the true ones of a bool [R, C]; None where they are too many."""
    limit = int(mask.numel() * _NEAR)
    row, word = mask.view(torch.int64).nonzero(as_tuple=True)
    if len(row) > limit:
        return None
    which, lane = mask.view(len(mask), -1, _WORD)[row, word].nonzero(as_tuple=True)
    if len(which) > limit:
        return None
    return row[which], word[which] * _WORD + lane


def _best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Scores and columns of the k best of each row, [q, K], lower columns first within a tie."""
    k = min(k, scores.shape[1])
    best = scores.topk(k, dim=1).values
    worst = best[:, -1:]  # [q, 1]
    room = k - (best > worst).sum(1, keepdim=True)  # of those that tie with the worst
    equal = scores == worst
    kept = (scores > worst) | (equal & (equal.cumsum(1, dtype=torch.int32) <= room))
    place = kept.nonzero()[:, 1].view(-1, k)
    order = scores.gather(1, place).sort(dim=1, descending=True, stable=True)
    return order.values, place.gather(1, order.indices)


def as_lists(
    query: Tensor, score: Tensor, place: Tensor, top: int
) -> tuple[Tensor, Tensor, Tensor]:
    """[P] each, places rising within a query -> queries [q] and their best, [q, top] each."""
    order = score.argsort(descending=True, stable=True)
    order = order[query[order].argsort(stable=True)]
    queries, group, counts = torch.unique_consecutive(
        query[order], return_inverse=True, return_counts=True
    )
    slot = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[group]
    kept = slot < top
    cells = group[kept], slot[kept]
    scores = score.new_full((len(queries), top), -torch.inf)
    places = place.new_full((len(queries), top), -1)
    scores[cells], places[cells] = score[order][kept], place[order][kept]
    return queries, scores, places
