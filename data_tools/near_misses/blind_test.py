"""The blind test: how far does a language model tell near misses from captions by the text alone?

A training signal that text alone gives away is learnt from text alone (Hsieh et al. 2023,
SugarCrepe). 0.5 is what a model without any hint reaches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_tools.annotate import read_sidecar
from data_tools.lots import lot
from data_tools.near_misses.ngram import Trigrams, Vocabulary
from data_tools.near_misses.tokens import Words
from vlp.metrics.ood import auroc
from vlp.metrics.outcomes import clustered, interval
from vlp.progress import watched

Floats = NDArray[np.float64]
_FOLDS = 5
_MOST_TRAINED = 300_000  # captions that the trigrams learn from, by lot


@dataclass(frozen=True)
class Judged:
    """What a model makes of all near misses, in the order of shards and rows.

    Args:
        kinds: [n], of each near miss.
        units: [n], the number of its sample.
        names: [n], what a lot about it is drawn by: its key and text.
        originals: [n], log P per word of the caption that it was made of.
        texts: [n], of the near miss.
    """

    kinds: NDArray[np.str_]
    units: NDArray[np.int64]
    names: Sequence[tuple[str, str]]
    originals: Floats
    texts: Floats

    @property
    def gaps(self) -> Floats:
        """[n], positive where the model prefers the caption."""
        return self.originals - self.texts


@dataclass(frozen=True)
class Score:
    """Of near misses of a kind.

    Args:
        accuracy: share of which the caption is likelier; equal ones count half.
        interval: 95 %, of the accuracy; samples are what is drawn.
        auc: P(a caption is likelier than a near miss), of any two.
    """

    number: int
    accuracy: float
    interval: tuple[float, float] | None
    auc: float


def score(judged: Judged, kept: NDArray[np.bool_] | None = None, kind: str | None = None) -> Score:
    """The score of all near misses, or of those that are kept and of a kind."""
    chosen = np.ones(len(judged.kinds), bool) if kept is None else kept
    if kind is not None:
        chosen = chosen & (judged.kinds == kind)
    number = int(chosen.sum())
    if not number:
        return Score(0, np.nan, None, np.nan)
    gaps = judged.gaps[chosen]
    is_right = (gaps > 0) if (gaps != 0).all() else (gaps > 0) + 0.5 * (gaps == 0)
    units = np.unique(judged.units[chosen], return_inverse=True)[1]
    ratio = clustered(is_right, units, int(units.max()) + 1)
    area = auroc(judged.originals[chosen], judged.texts[chosen])
    return Score(number, ratio.value, interval(ratio), area)


def table(judged: Judged, kept: NDArray[np.bool_] | None = None) -> Iterator[str]:
    """Lines with the score of each kind and of all."""
    kinds = np.unique(judged.kinds).tolist()
    width = max(map(len, ["all", "kind", *kinds]))
    yield f"  {'kind':{width}} {'number':>9}  accuracy (95 %)       AUC"
    for kind in [*kinds, None]:
        found = score(judged, kept, kind)
        within = "" if found.interval is None else "[{:.3f}, {:.3f}]".format(*found.interval)
        shown = f"{found.accuracy:.3f} {within:14}  {found.auc:.3f}" if found.number else "-"
        yield f"  {kind or 'all':{width}} {found.number:>9,}  {shown}"


def read_rows(
    shards: Sequence[Path], name: str
) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """(key, [(kind, caption, near miss)]) of every sample."""
    for shard in watched(shards, "reading", "shards"):
        columns = [read_sidecar(shard, name)[c].to_pylist()
                   for c in ("key", "kinds", "originals", "texts")]  # fmt: skip
        for key, *lists in zip(*columns, strict=True):
            yield key, list(zip(*lists, strict=True))


def judged_by(shards: Sequence[Path], name: str, scores: Sequence[tuple[Floats, Floats]]) -> Judged:
    """Near misses of the sidecars `name` with their scores.

    Args:
        scores: of each shard, (captions [n], near misses [n]).
    """
    kinds: list[str] = []
    units: list[int] = []
    names: list[tuple[str, str]] = []
    for unit, (key, own) in enumerate(read_rows(shards, name)):
        for kind, _, text in own:
            kinds.append(kind)
            units.append(unit)
            names.append((key, text))
    originals, texts = ([pair[side] for pair in scores] for side in (0, 1))
    return Judged(
        np.array(kinds, dtype=np.str_),
        np.array(units, np.int64),
        names,
        np.concatenate(originals) if originals else np.zeros(0),
        np.concatenate(texts) if texts else np.zeros(0),
    )


def by_sidecars(shards: Sequence[Path], scores: str) -> list[tuple[Floats, Floats]]:
    """The scores of every shard from the sidecars `scores`, as `judges.judge_shard` makes them."""
    found = []
    for shard in shards:
        sidecar = read_sidecar(shard, scores)
        sides = [
            np.array([value for row in sidecar[side].to_pylist() for value in row], np.float64)
            for side in ("originals", "texts")
        ]
        found.append((sides[0], sides[1]))
    return found


def by_trigrams(shards: Sequence[Path], name: str, seed: int) -> list[tuple[Floats, Floats]]:
    """The scores of every shard by trigrams of the captions themselves.

    Pictures fall into five parts, and each is judged by what the other four have taught.
    """
    models, vocabulary = _trained(shards, name, seed)
    found = []
    for shard in shards:
        keys, captions, texts = [], [], []
        for key, own in read_rows([shard], name):
            keys += [key] * len(own)
            captions += [_coded(vocabulary, caption) for _, caption, _ in own]
            texts += [_coded(vocabulary, text) for _, _, text in own]
        folds = np.array([_fold(seed, key) for key in keys], np.int64)
        sides = np.zeros((2, len(keys)))
        for fold in np.unique(folds).tolist():
            places = np.flatnonzero(folds == fold)
            for side, sentences in enumerate((captions, texts)):
                sides[side, places] = models[fold].log_likelihood([sentences[i] for i in places])
        found.append((sides[0], sides[1]))
    return found


def _trained(
    shards: Sequence[Path], name: str, seed: int
) -> tuple[dict[int, Trigrams], Vocabulary]:
    """A model for each part, of the captions of the others."""
    total = sum(len({caption for _, caption, _ in own}) for _, own in read_rows(shards, name))
    share = _MOST_TRAINED / max(total, 1)
    sentences, folds = [], []
    for key, own in read_rows(shards, name):
        if share >= 1 or lot(seed, "trained", key) < share:
            for caption in dict.fromkeys(caption for _, caption, _ in own):
                sentences.append(Words.of(caption).lower)
                folds.append(_fold(seed, key))
    vocabulary = Vocabulary(sentences)
    coded = [vocabulary.coded(sentence) for sentence in sentences]
    models = {}
    for fold in range(_FOLDS):
        others = [ids for ids, part in zip(coded, folds, strict=True) if part != fold]
        models[fold] = Trigrams(others, len(vocabulary))
    return models, vocabulary


def _coded(vocabulary: Vocabulary, text: str) -> NDArray[np.int64]:
    return vocabulary.coded(Words.of(text).lower)


def _fold(seed: int, key: str) -> int:
    return int(lot(seed, "fold", key) * _FOLDS)
