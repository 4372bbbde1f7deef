"""Cross-modal retrieval ranks, exact, without the whole score matrix.

Text to image: rank = 1 + #{other pictures that score at least as high as the true one}.
Image to text: rank = 1 + #{captions of other pictures that score at least as high as the best own
caption}. So R@k is the share of queries whose answer is among the k best when every tie is broken
against the model: of a picture's own captions only the best one matters, because the first own
caption of a list is a hit whichever own caption it is.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlp.metrics.ranking import Queries, as_lists, rank_blocks
from vlp.metrics.similarity import lengths, pair_scores, product_margin

RECALLS = (1, 5, 10)


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """One retrieval direction: Q queries over a gallery."""

    rank: NDArray[np.int64]  # [Q], 1 is best, ties count against the model
    tied: NDArray[np.bool_]  # [Q], something wrong scores exactly as high as the answer
    top: NDArray[np.int64]  # [Q, K] gallery positions, best first, wrong ones first within a tie
    top_score: NDArray[np.float32]  # [Q, K]

    def hit(self, k: int) -> NDArray[np.bool_]:
        """[Q], whether the answer is among the k best."""
        return self.rank <= k

    def metrics(self, prefix: str) -> dict[str, float]:
        """`PREFIX_recall@K`, `PREFIX_median_rank`, `PREFIX_mean_rank`, `PREFIX_mrr`."""
        values = {f"{prefix}_recall@{k}": self.hit(k).mean().item() for k in RECALLS}
        values[f"{prefix}_median_rank"] = float(np.median(self.rank))
        values[f"{prefix}_mean_rank"] = self.rank.mean().item()
        values[f"{prefix}_mrr"] = (1.0 / self.rank).mean().item()
        return values


@torch.no_grad()
def rank_both(image: Tensor, text: Tensor, owner: Tensor, top: int = 5) -> tuple[Ranks, Ranks]:
    """`text_to_image` and `image_to_text` from one pass over the scores.

    Beside the features, memory grows with N + M and not with N M. Arguments and errors are those of
    `image_to_text`.
    """
    pairs = _Pairs.of(image, text, owner, top)
    texts, images = pairs.texts(), pairs.images()
    rank_blocks(image, text, pairs.owner, [texts.queries, images.queries])
    return texts.ranks(), images.ranks()


@torch.no_grad()
def text_to_image(image: Tensor, text: Tensor, owner: Tensor, top: int = 5) -> Ranks:
    """Rank the true picture of every text.

    Args:
        image: [N, D] unit-norm features of the gallery.
        text: [M, D] unit-norm features of the queries.
        owner: [M] integers, the picture that each text describes.
        top: how many of the best gallery positions to keep; within a tie wrong ones come first,
            then lower positions.

    Raises:
        ValueError: features that are no numbers, an owner that is no picture, or top below 1.
    """
    pairs = _Pairs.of(image, text, owner, top)
    texts = pairs.texts()
    rank_blocks(image, text, pairs.owner, [texts.queries])
    return texts.ranks()


@torch.no_grad()
def image_to_text(image: Tensor, text: Tensor, owner: Tensor, top: int = 5) -> Ranks:
    """Rank the best own caption of every picture; the arguments are those of `text_to_image`.

    Raises:
        ValueError: as `text_to_image`, and a picture without any caption, which no ranking can
            answer.
    """
    pairs = _Pairs.of(image, text, owner, top)
    images = pairs.images()
    rank_blocks(image, text, pairs.owner, [images.queries])
    return images.ranks()


def summary(t2i: Ranks, i2t: Ranks) -> dict[str, float]:
    """Both directions under CLIP_benchmark's names, with `rsum` and `mean_recall@1`.

    `image_retrieval_*` is text to image, `text_retrieval_*` is image to text. All recalls are
    shares in [0, 1], so `rsum`, the sum of the six, lies in [0, 6].
    """
    values = t2i.metrics("image_retrieval") | i2t.metrics("text_retrieval")
    values["rsum"] = sum(values[name] for name in recall_names())
    ways = ("image_retrieval", "text_retrieval")
    values["mean_recall@1"] = sum(values[f"{way}_recall@1"] for way in ways) / 2
    return values


def recall_names() -> list[str]:
    """The six recalls that `rsum` adds up."""
    ways = ("image_retrieval", "text_retrieval")
    return [f"{way}_recall@{k}" for way in ways for k in RECALLS]


@dataclass(frozen=True)
class _Direction:
    """Queries among what is wrong for them, and the best of what is right for them."""

    queries: Queries
    score: Tensor  # [Q, k] float32, of the right ones, best first
    place: Tensor  # [Q, k]
    top: int  # places to report

    def ranks(self) -> Ranks:
        # a stable sort leaves wrong ones, which come first, before right ones of the same score
        score = torch.cat([self.queries.score, self.score], dim=1)
        order = score.sort(dim=1, descending=True, stable=True)
        place = torch.cat([self.queries.place, self.place], dim=1).gather(1, order.indices)
        above, equal = self.queries.above, self.queries.equal
        return Ranks(
            rank=(1 + above + equal).cpu().numpy(),
            tied=(equal > 0).cpu().numpy(),
            top=place[:, : self.top].cpu().numpy(),
            top_score=order.values[:, : self.top].cpu().numpy(),
        )


@dataclass(frozen=True)
class _Pairs:
    """Pictures and texts that can be ranked."""

    owner: Tensor  # [M], on the device of the features
    own: Tensor  # [M] float32, the score of each text with its picture
    margins: tuple[Tensor, Tensor]  # [N] and [M], of float32 products
    top: int

    @classmethod
    def of(cls, image: Tensor, text: Tensor, owner: Tensor, top: int) -> "_Pairs":
        if len(image) == 0 or len(text) == 0:
            raise ValueError(
                f"retrieval needs pictures and texts, got {len(image)} and {len(text)}"
            )
        if top < 1:
            raise ValueError(f"top: must be 1 or more, got {top}")
        norms = lengths("image", image), lengths("text", text)
        longest = norms[0].max(), norms[1].max()
        if longest[0] * longest[1] > torch.finfo(torch.float32).max / 2:
            raise ValueError("the features are too long for scores in float32; unit norm is meant")
        if len(owner) != len(text) or int(owner.min()) < 0 or int(owner.max()) >= len(image):
            raise ValueError(
                f"owner: needs one picture in [0, {len(image)}) for each of {len(text)} texts"
            )
        owner = owner.to(image.device)
        own = pair_scores(image, text, (owner, torch.arange(len(text), device=image.device)))
        width = image.shape[1]
        margins = [product_margin(norms[k], longest[1 - k], width) for k in (0, 1)]
        return cls(owner, own, (margins[0], margins[1]), top)

    def texts(self) -> _Direction:
        """Texts as queries."""
        queries = Queries(1, self.own, self.margins[1], self.top)
        places = min(self.top, len(self.margins[0]))
        return _Direction(queries, self.own[:, None], self.owner[:, None], places)

    def images(self) -> _Direction:
        """Pictures as queries; the answer is the best own caption."""
        captions = torch.bincount(self.owner, minlength=len(self.margins[0]))
        if int(captions.min()) == 0:
            raise ValueError(f"owner: picture {int(captions.argmin())} has no caption")
        text = torch.arange(len(self.own), device=self.own.device)
        _, score, place = as_lists(self.owner, self.own, text, self.top)
        queries = Queries(0, score[:, 0].contiguous(), self.margins[0], self.top)
        return _Direction(queries, score, place, min(self.top, len(text)))
