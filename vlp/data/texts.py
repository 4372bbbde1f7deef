"""Which texts of a sample a step sees, and how they travel from the loader to the model.

A sample has a caption drawn among original and rewrites, and as the objectives need them further
captions, hard captions, and the caption with other numbers. Tokens of one kind come as a dense
[B, slots, L] with a mask; `pack` keeps the ones that exist, so that a single call of the text tower
encodes every text of the step and none that is masked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from vlp.data.numbers import NUMBERS, with_each_number
from vlp.data.sidecars import Annotations, Count
from vlp.data.transforms import kept_words
from vlp.signals import COUNTER, HARD, MORE, NUMBER, WRONG_NUMBERS

ORIGINAL = "original"
KINDS = (HARD, COUNTER, NUMBER, MORE)  # in the order of their slots
_FLAT = (COUNTER,)  # one text a sample, so without a dimension for slots


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Which of a sample's texts are drawn."""

    captions: int = 1  # drawn per sample and step, different ones where there are enough
    # of each text of a set, relative to the others: `original`, `rewrites`, `rewrites-NAME`; 1 if
    # not named, so that all texts are equally likely
    weights: dict[str, float] = field(default_factory=dict)
    hard_captions: int = 1  # drawn per sample and step, where an objective needs them
    hard_kinds: list[str] = field(default_factory=list)  # of the negatives sidecar; all if empty

    def __post_init__(self) -> None:
        for name in ("captions", "hard_captions"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.texts.{name} must be at least 1, got {getattr(self, name)}")
        negative = {name: w for name, w in self.weights.items() if not 0 <= w < float("inf")}
        if negative:
            raise ValueError(f"data.texts.weights must be 0 or more, got {negative}")


@dataclass(frozen=True)
class Drawn:
    """A caption of a sample: the text, which caption of the source it is (None for a rewrite), and
    the places of the words that word dropout leaves (None without it).
    """

    text: str
    own: int | None
    kept: list[int] | None = None

    @property
    def shown(self) -> str:
        """What the model sees of the text."""
        return self.text if self.kept is None else _select(self.text, self.kept)


@dataclass(frozen=True)
class Texts:
    """The drawn texts of one sample."""

    captions: list[str]  # [K]
    own: int | None  # which caption of the source the first is
    further: Mapping[str, Sequence[str]]  # by kind, at most as many as there are slots


class TextDraw:
    """Draws texts. Picklable; everything random comes from generators that the caller keys.

    Args:
        config: what is drawn.
        kinds: the further texts that are needed, of `KINDS`.
        word_dropout: probability of leaving out each word of a caption.
    """

    def __init__(
        self, config: TextConfig, kinds: frozenset[str] = frozenset(), word_dropout: float = 0.0
    ) -> None:
        self.config = config
        self.kinds = tuple(kind for kind in KINDS if kind in kinds)
        self.word_dropout = word_dropout

    @property
    def slots(self) -> dict[str, int]:
        """Texts a sample of each kind that is needed."""
        widths = {
            HARD: self.config.hard_captions,
            COUNTER: 1,
            NUMBER: WRONG_NUMBERS,
            MORE: self.config.captions - 1,
        }
        return {kind: widths[kind] for kind in self.kinds}

    def caption(
        self, own: Sequence[str], annotations: Annotations, rng: np.random.Generator
    ) -> Drawn:
        """One of the captions and rewrites.

        A rewrite of under two words falls back to the original (Fan et al. 2023, LaCLIP).
        """
        texts, weights = self._candidates(own, annotations)
        if weights is None:
            drawn = int(rng.integers(len(texts)))
        else:
            drawn = int(rng.choice(len(texts), p=weights))
        return self._drawn(texts, drawn, len(own), rng)

    def draw(
        self,
        drawn: Drawn,
        own: Sequence[str],
        annotations: Annotations,
        rng: np.random.Generator,
    ) -> Texts:
        """All texts of a sample, given its drawn caption. `rng` is of its own stream."""
        captions = [drawn.shown]
        further: dict[str, list[str]] = {}
        if MORE in self.kinds:
            captions += [o.shown for o in self._others(drawn, own, annotations, rng)]
        if HARD in self.kinds:
            further[HARD] = [self._dropped(t, own[0], rng) for t in self._hard(annotations, rng)]
        if {COUNTER, NUMBER} & set(self.kinds) and annotations.count is not None:
            further |= _wrong_numbers(drawn, annotations.count, rng)
        return Texts(captions, drawn.own, further)

    def _candidates(
        self, own: Sequence[str], annotations: Annotations
    ) -> tuple[list[str], np.ndarray | None]:
        """Every caption there is, and its probability where these differ."""
        texts = [*own, *(text for _, text in annotations.rewrites)]
        if not self.config.weights:
            return texts, None
        sets = [ORIGINAL] * len(own) + [name for name, _ in annotations.rewrites]
        weights = np.array([self.config.weights.get(name, 1.0) for name in sets])
        if not weights.sum():  # nothing but sets of weight zero: the original, as without rewrites
            weights[0] = 1.0
        return texts, weights / weights.sum()

    def _drawn(self, texts: Sequence[str], drawn: int, own: int, rng: np.random.Generator) -> Drawn:
        if drawn >= own and len(texts[drawn].split()) < 2:
            drawn = 0
        dropout = self.word_dropout
        kept = kept_words(texts[drawn], dropout, rng) if dropout else None
        return Drawn(texts[drawn], drawn if drawn < own else None, kept)

    def _others(
        self,
        drawn: Drawn,
        own: Sequence[str],
        annotations: Annotations,
        rng: np.random.Generator,
    ) -> list[Drawn]:
        """The further captions, without the drawn one while there are enough."""
        texts, weights = self._candidates(own, annotations)
        chances = np.ones(len(texts)) if weights is None else weights
        others = np.array([text != drawn.text for text in texts])
        if (chances * others).any():
            chances = chances * others
        wanted, there = self.config.captions - 1, int(np.count_nonzero(chances))
        places = rng.choice(len(texts), wanted, replace=wanted > there, p=chances / chances.sum())
        return [self._drawn(texts, int(i), len(own), rng) for i in places]

    def _hard(self, annotations: Annotations, rng: np.random.Generator) -> list[str]:
        kinds = self.config.hard_kinds
        texts = [text for kind, text in annotations.negatives if not kinds or kind in kinds]
        order = rng.permutation(len(texts))[: self.config.hard_captions]
        return [texts[int(i)] for i in order]

    def _dropped(self, text: str, caption: str, rng: np.random.Generator) -> str:
        """A wrong text under word dropout; the words that make it wrong stay."""
        if not self.word_dropout:
            return text
        kept = set(kept_words(text, self.word_dropout, rng))
        words, own = text.split(), caption.split()
        if len(words) == len(own):
            kept |= {
                i for i, (word, right) in enumerate(zip(words, own, strict=True)) if word != right
            }
        else:
            kept |= {i for i, word in enumerate(words) if word not in own}
        return _select(text, sorted(kept))


def _select(text: str, words: Sequence[int]) -> str:
    parts = text.split()
    return " ".join(parts[i] for i in words)


def _wrong_numbers(drawn: Drawn, count: Count, rng: np.random.Generator) -> dict[str, list[str]]:
    """The caption with one other number, and with each of them; nothing if it does not say it.

    Word dropout leaves the words that it leaves of the caption itself.
    """
    each = with_each_number(drawn.text, count.number, count.noun)
    if each is None:
        stored = count.counterfactual if drawn.own == 0 else None
        whole = drawn.kept is None  # of a text with other words nobody knows which to leave out
        return {COUNTER: [stored]} if stored and whole else {}
    wrong = [
        replace(drawn, text=text).shown
        for number, text in zip(NUMBERS, each, strict=True)
        if number != count.number
    ]
    if drawn.shown in wrong:  # word dropout took the number
        return {}
    return {COUNTER: [wrong[int(rng.integers(len(wrong)))]], NUMBER: wrong}


def dense(
    tokens: Tensor, places: Sequence[tuple[str, int, int]], rows: int, slots: Mapping[str, int]
) -> dict[str, Tensor]:
    """Tokens and masks by kind.

    Args:
        tokens: [m, L] of all further texts.
        places: (kind, row of the batch, slot) of each.
        rows: of the batch.
        slots: texts a row of each kind.

    Returns:
        `KIND_tokens` [B, slots, L] and `KIND_mask` [B, slots]; [B, L] and [B] for `counter`.
    """
    found: dict[str, Tensor] = {}
    for kind, width in slots.items():
        found[f"{kind}_tokens"] = tokens.new_zeros(rows, width, tokens.shape[1])
        found[f"{kind}_mask"] = torch.zeros(rows, width, dtype=torch.bool)
    for text, (kind, row, slot) in zip(tokens, places, strict=True):
        found[f"{kind}_tokens"][row, slot] = text
        found[f"{kind}_mask"][row, slot] = True
    for kind in _FLAT:
        if kind in slots:
            for name in (f"{kind}_tokens", f"{kind}_mask"):
                found[name] = found[name].squeeze(1)
    return found


def pack(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The dense tokens of all kinds as one list of those that exist.

    Args:
        rows: tensors of a batch, [B, ...] each, on the CPU: on a GPU the list's length would make
            the host wait.

    Returns:
        The same without `KIND_tokens`, with `extra_tokens` [M, L] and `extra_place` [M]: the place
        row * slots + slot in a grid of all kinds' slots side by side, in the order of `KINDS`.
    """
    kinds = [kind for kind in KINDS if f"{kind}_tokens" in rows]
    packed = {name: value for name, value in rows.items() if not _is_dense(name)}
    if not kinds:
        return packed
    batch, length = rows["tokens"].shape
    grid = torch.cat([rows[f"{kind}_tokens"].reshape(batch, -1, length) for kind in kinds], dim=1)
    mask = torch.cat([rows[f"{kind}_mask"].reshape(batch, -1) for kind in kinds], dim=1)
    place = mask.flatten().nonzero().squeeze(1)  # [M]
    packed["extra_tokens"] = grid.flatten(0, 1)[place]
    packed["extra_place"] = place
    return packed


def unpack(features: Tensor, place: Tensor, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Features of the packed texts by kind, zero where masked.

    Args:
        features: [M, D].
        place: [M], `extra_place`.
        masks: `KIND_mask` of every kind that was packed.

    Returns:
        `KIND` -> [B, slots, D], without the dimension of slots where the mask has none.
    """
    kinds = [kind for kind in KINDS if f"{kind}_mask" in masks]
    shapes = [masks[f"{kind}_mask"].shape for kind in kinds]
    widths = [shape[1] if len(shape) > 1 else 1 for shape in shapes]
    rows = shapes[0][0]
    grid = features.new_zeros(rows * sum(widths), features.shape[1])
    grid = grid.index_copy(0, place, features).view(rows, sum(widths), -1)
    parts = zip(kinds, shapes, grid.split(widths, dim=1), strict=True)  # type: ignore[no-untyped-call]
    return {kind: part.reshape(*shape, -1) for kind, shape, part in parts}


def _is_dense(name: str) -> bool:
    return name.removesuffix("_tokens") in KINDS and name.endswith("_tokens")
