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

from vlp.metrics.similarity import best_first, just_below, similarity_chunks

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


def text_to_image(image: Tensor, text: Tensor, owner: Tensor, top: int = 5) -> Ranks:
    """Rank the true picture of every text.

    Args:
        image: [N, D] unit-norm features of the gallery.
        text: [M, D] unit-norm features of the queries.
        owner: [M] integers, the picture that each text describes.
        top: how many of the best gallery positions to keep.

    Raises:
        ValueError: features that are no numbers, or an owner that is no picture.
    """
    _check(image, text, owner)
    owner = owner.to(image.device)
    parts = []
    for start, scores in similarity_chunks(text, image):
        true = owner[start : start + len(scores), None]  # [q, 1]
        best = scores.gather(1, true)  # [q, 1]
        above = (scores > best).sum(1)
        equal = (scores == best).sum(1) - 1
        lowered = scores.scatter(1, true, just_below(best))
        parts.append((1 + above + equal, equal > 0, *best_first(scores, lowered, top)))
    return _join(parts)


def image_to_text(image: Tensor, text: Tensor, owner: Tensor, top: int = 5) -> Ranks:
    """Rank the best own caption of every picture; the arguments are those of `text_to_image`.

    Raises:
        ValueError: as `text_to_image`, and a picture without any caption, which no ranking can
            answer.
    """
    _check(image, text, owner)
    owner = owner.to(image.device)
    captions = torch.bincount(owner, minlength=len(image))
    if int(captions.min()) == 0:
        raise ValueError(f"owner: picture {int(captions.argmin())} has no caption")
    parts = []
    for start, scores in similarity_chunks(image, text):
        rows = torch.arange(start, start + len(scores), device=image.device)
        own = owner[None, :] == rows[:, None]  # [q, M]
        best = scores.masked_fill(~own, -torch.inf).amax(1, keepdim=True)  # [q, 1]
        foreign = scores.masked_fill(own, -torch.inf)
        above = (foreign > best).sum(1)
        equal = (foreign == best).sum(1)
        lowered = torch.where(own, just_below(scores), scores)
        parts.append((1 + above + equal, equal > 0, *best_first(scores, lowered, top)))
    return _join(parts)


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


def _check(image: Tensor, text: Tensor, owner: Tensor) -> None:
    if len(image) == 0 or len(text) == 0:
        raise ValueError(f"retrieval needs pictures and texts, got {len(image)} and {len(text)}")
    for name, rows in (("image", image), ("text", text)):
        if not torch.isfinite(rows).all():
            raise ValueError(f"{name}: NaN or infinity among the features")
    if len(owner) != len(text) or int(owner.min()) < 0 or int(owner.max()) >= len(image):
        raise ValueError(
            f"owner: needs one picture in [0, {len(image)}) for each of {len(text)} texts"
        )


def _join(parts: list[tuple[Tensor, Tensor, Tensor, Tensor]]) -> Ranks:
    columns = [torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)]
    rank, tied, top, score = columns
    return Ranks(rank=rank, tied=tied, top=top, top_score=score)
