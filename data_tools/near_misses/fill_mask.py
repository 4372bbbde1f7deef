"""Near misses by a masked language model: one word is hidden and filled with another."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import torch
from transformers import AutoModelForMaskedLM

from data_tools.devices import device_of
from data_tools.eval_captions import normalised
from data_tools.lots import rng
from data_tools.near_misses.captions import Caption
from data_tools.near_misses.making import Making
from data_tools.near_misses.masks import Mask, fits, listed_words, masks, stem
from data_tools.near_misses.rules import MAYBE_TRUE, NO_WORD, NearMiss
from data_tools.near_misses.sidecar import Found
from data_tools.near_misses.tokens import Edit, Words, applied, article, in_case_of
from data_tools.rewriting.backends import BackendOptions
from data_tools.rewriting.generation import (
    load_model,
    load_tokenizer,
    model_folder,
)
from vlp.errors import InputError

_SPACE = ("Ġ", "▁")  # how vocabularies mark the beginning of a word
_REST = "##"  # and how WordPiece marks the rest of one


@dataclass(frozen=True)
class Gap:
    """A caption with one word hidden."""

    caption: int  # place in the list
    mask: Mask


class Filler:
    """A masked language model from a folder.

    Raises:
        InputError: no such folder, or another kind of model in it.
    """

    def __init__(self, options: BackendOptions) -> None:
        folder = model_folder(options.model)
        self._device = device_of(options.device)
        self._tokenizer: Any = load_tokenizer(f"--model {options.model}", folder)
        if self._tokenizer.mask_token is None:
            raise InputError(f"--model {options.model}: its tokenizer has no mask")
        what = f"--model {options.model}"
        self._model: Any = load_model(what, AutoModelForMaskedLM, folder, options)
        self._words = _whole_words(self._tokenizer)

    def proposals(self, texts: Sequence[tuple[str, str]], top_k: int) -> list[list[str]]:
        """The whole words among the `top_k` likeliest tokens for each gap, the likeliest first.

        Args:
            texts: (before the gap, after it).
        """
        mask = self._tokenizer.mask_token
        encoded = self._tokenizer(
            [f"{before}{mask}{after}" for before, after in texts],
            padding=True,
            truncation=True,
            max_length=self._longest,
            return_tensors="pt",
        ).to(self._device)
        is_gap = encoded["input_ids"] == self._tokenizer.mask_token_id  # [texts, tokens]
        with torch.inference_mode():
            logits = self._model(**encoded).logits  # [texts, tokens, vocabulary]
        found: list[list[str]] = []
        for row, gaps in zip(logits, is_gap, strict=True):
            if int(gaps.sum()) != 1:  # cut off with the end of a long text, or said in it
                found.append([])
                continue
            likeliest = row[gaps][0].float().topk(min(top_k, row.shape[-1])).indices.tolist()
            found.append([self._words[token] for token in likeliest if token in self._words])
        return found

    @property
    def _longest(self) -> int:
        positions = getattr(self._model.config, "max_position_embeddings", 512)
        # RoBERTa keeps two positions for itself
        return int(min(self._tokenizer.model_max_length, positions - 2))


@cache
def filler(options: BackendOptions) -> Filler:
    """The model of these options; a process loads it once."""
    return Filler(options)


def fill(captions: Sequence[Caption], making: Making) -> list[Found]:
    """Near misses of the captions of one shard.

    Batches are made of the shard's gaps in their order, so that nothing else decides their bits.
    """
    assert making.model is not None
    gaps = list(_gaps(captions, making))
    model, size = filler(making.model), making.model.batch
    proposed: list[list[str]] = []
    for start in range(0, len(gaps), size):
        texts = [_around(captions[gap.caption], gap.mask) for gap in gaps[start : start + size]]
        proposed += model.proposals(texts, making.top_k)
    filled: dict[int, list[NearMiss]] = {gap.caption: [] for gap in gaps}
    texts_out = making.excluded()
    known = _known_words(captions)
    for gap, words in zip(gaps, proposed, strict=True):
        caption, own = captions[gap.caption], filled[gap.caption]
        if len(own) == making.per_caption:
            continue
        draw = rng(making.seed, "fill", caption.key, caption.text, str(gap.mask.place))
        whole = [word for word in words if word.lower() in known]
        near_miss = _chosen(gap, caption, whole, draw)
        if near_miss is None:
            continue
        told = normalised(near_miss.text)
        if told not in caption.picture.texts and told not in texts_out:
            own.append(near_miss)
    return [_result(place, filled) for place in range(len(captions))]


def _known_words(captions: Sequence[Caption]) -> frozenset[str]:
    """Words of the shard and of the lists: a token may be the beginning of a word and be none."""
    own = {word for caption in captions for word in caption.parsed.words.lower}
    return listed_words() | own


def _result(place: int, filled: dict[int, list[NearMiss]]) -> Found:
    if place not in filled:
        return [], NO_WORD
    return filled[place], "" if filled[place] else MAYBE_TRUE


def _gaps(captions: Sequence[Caption], making: Making) -> Iterator[Gap]:
    """Twice as many words as near misses are wanted, by lot: some of them get no false filling."""
    for place, caption in enumerate(captions):
        there = [mask for mask in masks(caption.parsed) if mask.kind in making.kinds]
        draw = rng(making.seed, "gaps", caption.key, caption.text)
        chosen = draw.sample(there, min(len(there), 2 * making.per_caption))
        yield from (Gap(place, mask) for mask in chosen)


def _around(caption: Caption, mask: Mask) -> tuple[str, str]:
    words = caption.parsed.words
    return words.text[: words.starts[mask.place]], words.text[words.ends[mask.place] :]


def _chosen(gap: Gap, caption: Caption, proposed: Iterable[str], draw: Random) -> NearMiss | None:
    stems = _stems(caption)
    words = caption.parsed.words
    fitting = [word for word in proposed if fits(gap.mask, caption, word.lower(), stems)]
    if not fitting:
        return None
    word = draw.choice(fitting)
    edits = _edits(words, gap.mask.place, word)
    return NearMiss(gap.mask.kind, applied(words.text, edits), edits)


def _edits(words: Words, place: int, word: str) -> list[Edit]:
    new = in_case_of(words.shown(place, place), word.lower())
    return [
        *article(words, place, new),
        Edit(words.starts[place], words.ends[place], new),
    ]


def _stems(caption: Caption) -> frozenset[str]:
    texts = " ".join(caption.picture.texts)
    return frozenset(map(stem, Words.of(texts).lower))


def _whole_words(tokenizer: Any) -> dict[int, str]:  # noqa: ANN401 (any tokenizer of transformers)
    """The tokens that are words of at least two letters, by id."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    special = set(tokenizer.all_special_tokens)
    mark = next((m for m in _SPACE if any(token.startswith(m) for token in vocabulary)), "")
    found = {}
    for token, place in vocabulary.items():
        if token in special or token.startswith(_REST) or not token.startswith(mark):
            continue
        word = token.removeprefix(mark)
        if len(word) > 1 and word.isascii() and word.isalpha():
            found[place] = word
    return found
