"""BLEU, ROUGE-L and CIDEr of generated captions, with the numbers that coco-caption gives.

BLEU (Papineni et al. 2002): geometric mean of the clipped n-gram precisions of the whole set, times
exp(1 - r / c) where the captions (c words) are shorter than the references of closest length (r).
ROUGE-L (Lin 2004): F of the longest common subsequence, recall counting beta = 1.2 as much.
CIDEr (Vedantam et al. 2015) in its form CIDEr-D: cosine of the tf-idf vectors of n-grams, clipped
at the reference's and damped by the difference in length, mean over n = 1 to 4 and the references,
times 10. Document frequencies are those of the references of the set: a number belongs to its set.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlp.metrics.caption_words import caption_words

ORDERS = 4  # n-grams up to this length
_BETA = 1.2
_SIGMA = 6.0  # words
_TINY, _SMALL = 1e-15, 1e-9  # coco-caption's guards against a division by zero

Words = Sequence[str]
Gram = tuple[str, ...]
Vector = dict[Gram, float]


@dataclass(frozen=True, kw_only=True)
class CaptionScores:
    """Scores of n captions; BLEU has none for a single one."""

    bleu: list[float]  # [4], of the whole set, n-grams up to 1, 2, 3 and 4
    rouge_l: NDArray[np.float64]  # [n]
    cider: NDArray[np.float64]  # [n]

    @property
    def metrics(self) -> dict[str, float]:
        return {
            **{f"bleu{order}": value for order, value in enumerate(self.bleu, 1)},
            "rouge_l": float(self.rouge_l.mean()),
            "cider": float(self.cider.mean()),
        }


def score_captions(captions: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """Score one caption a picture against all captions that people gave it.

    Args:
        captions: [n].
        references: [n], at least one each.

    Raises:
        ValueError: no caption, or a picture without references.
    """
    if not captions or len(captions) != len(references) or not all(references):
        raise ValueError(
            f"captions: {len(captions)} captions for {len(references)} pictures, of which "
            f"{sum(not own for own in references)} have no reference"
        )
    given = [caption_words(text) for text in captions]
    expected = [[caption_words(text) for text in own] for own in references]
    return CaptionScores(
        bleu=bleu(given, expected), rouge_l=rouge_l(given, expected), cider=cider(given, expected)
    )


def bleu(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> list[float]:
    """BLEU-1 to BLEU-4 of the whole set."""
    correct, guessed = np.zeros(ORDERS), np.zeros(ORDERS)
    length = closest = 0
    for words, own in zip(captions, references, strict=True):
        length += len(words)
        closest += min((abs(len(other) - len(words)), len(other)) for other in own)[1]
        most: Counter[Gram] = Counter()
        for other in own:
            most |= _grams(other)  # the larger count of each
        for gram, count in _grams(words).items():
            correct[len(gram) - 1] += min(count, most[gram])
        guessed += [max(0, len(words) - order) for order in range(ORDERS)]
    precision = (correct + _TINY) / (guessed + _SMALL)
    ratio = (length + _TINY) / (closest + _SMALL)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    orders = np.arange(1, ORDERS + 1)
    return [float(value) for value in penalty * np.cumprod(precision) ** (1 / orders)]


def rouge_l(
    captions: Sequence[Words], references: Sequence[Sequence[Words]]
) -> NDArray[np.float64]:
    """ROUGE-L of each caption, [n]: the best precision and the best recall over its references."""
    scores = []
    for words, own in zip(captions, references, strict=True):
        common = [_common_words(words, other) for other in own]
        precision = max(common) / max(len(words), 1)
        recall = max(found / max(len(other), 1) for found, other in zip(common, own, strict=True))
        total = recall + _BETA**2 * precision
        scores.append((1 + _BETA**2) * precision * recall / total if total else 0.0)
    return np.array(scores)


def cider(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> NDArray[np.float64]:
    """CIDEr-D of each caption, [n], from 0 to 10; 0 everywhere for a set of one picture."""
    documents: Counter[Gram] = Counter()
    for own in references:
        documents.update(set().union(*(_grams(other) for other in own)))
    total = math.log(len(references))

    def weigh(words: Words) -> list[Vector]:
        vectors: list[Vector] = [{} for _ in range(ORDERS)]
        for gram, count in _grams(words).items():
            rarity = total - math.log(max(1, documents[gram]))
            vectors[len(gram) - 1][gram] = count * rarity
        return vectors

    scores = []
    for words, own in zip(captions, references, strict=True):
        given = weigh(words)
        found = [_likeness(given, weigh(other)) * _damping(words, other) for other in own]
        scores.append(10.0 * sum(found) / len(found))
    return np.array(scores)


def _grams(words: Words) -> Counter[Gram]:
    """How often each n-gram of every order occurs."""
    return Counter(
        tuple(words[start : start + order])
        for order in range(1, ORDERS + 1)
        for start in range(len(words) - order + 1)
    )


def _likeness(given: list[Vector], reference: list[Vector]) -> float:
    """Mean over the orders of the clipped cosine."""
    found = 0.0
    for one, other in zip(given, reference, strict=True):
        norms = _norm(one) * _norm(other)
        if norms:
            dot = sum(
                min(value, other[gram]) * other[gram]
                for gram, value in one.items()
                if gram in other
            )
            found += dot / norms
    return found / ORDERS


def _norm(vector: Vector) -> float:
    return math.sqrt(sum(value * value for value in vector.values()))


def _damping(words: Words, other: Words) -> float:
    """coco-caption counts word pairs here, so that a caption of one word is as long as none."""
    difference = max(len(words) - 1, 0) - max(len(other) - 1, 0)
    return math.exp(-(difference**2) / (2 * _SIGMA**2))


def _common_words(one: Words, other: Words) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for place, candidate in enumerate(other, 1):
            above = row[place]
            row[place] = before + 1 if word == candidate else max(above, row[place - 1])
            before = above
    return row[-1]
