"""The blind test of near misses: trigrams against the formula, planted hints, and refinement."""

import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.annotate import Made, Recipe, write_sidecar
from data_tools.build import Build, build
from data_tools.near_misses import sidecar
from data_tools.near_misses.blind_test import Judged, by_trigrams, judged_by, score
from data_tools.near_misses.ngram import Trigrams, Vocabulary
from data_tools.near_misses.refine import symmetric
from data_tools.negatives import Negatives, negatives
from tests.data_tools.conftest import jpeg
from vlp.data.index import sidecar_path
from vlp.errors import InputError

NOUNS = ["dog", "cat", "horse", "cow"]
COLOURS = ["black", "white", "brown"]
PLACES = ["on the beach", "in the park", "in the snow", "on a hill"]


def captions(number: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [
        f"A {draw.choice(COLOURS)} {draw.choice(NOUNS)} runs {draw.choice(PLACES)} ."
        for _ in range(number)
    ]


def naive(train: list[list[str]], size: int, sentence: list[str]) -> float:
    """Interpolated Kneser-Ney by its definition, word for word."""
    padded = [["<", "<", *words, "<"] for words in train]
    three = Counter(tuple(s[i - 2 : i + 1]) for s in padded for i in range(2, len(s)))
    two = Counter(gram[1:] for gram in three)
    one = Counter(gram[1:] for gram in two)

    def probability(word: str, context: tuple[str, ...]) -> float:
        table = (one, two, three)[len(context)]
        total = sum(n for gram, n in table.items() if gram[:-1] == context)
        lower = probability(word, context[1:]) if context else 1 / size
        if not total:
            return lower
        types = sum(gram[:-1] == context for gram in table)
        own = max(table[(*context, word)] - 0.75, 0)
        return own / total + 0.75 * types / total * lower

    words = ["<", "<", *sentence, "<"]
    logs = [
        math.log(probability(words[i], (words[i - 2], words[i - 1]))) for i in range(2, len(words))
    ]
    return sum(logs) / len(logs)


SENTENCE = st.lists(st.sampled_from("abc"), max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(SENTENCE, min_size=1, max_size=6), st.lists(SENTENCE, min_size=1, max_size=3))
def test_trigrams_follow_the_formula(train: list[list[str]], texts: list[list[str]]) -> None:
    vocabulary = Vocabulary(train)
    model = Trigrams([vocabulary.coded(sentence) for sentence in train], len(vocabulary))
    found = model.log_likelihood([vocabulary.coded(sentence) for sentence in texts])
    seen = {word for sentence in train for word in sentence}
    wanted = [
        naive(train, len(seen) + 2, [word if word in seen else "?" for word in sentence])
        for sentence in texts
    ]
    assert found == pytest.approx(wanted)


def judged(gaps: list[float], kinds: list[str] | None = None) -> Judged:
    number = len(gaps)
    return Judged(
        np.array(kinds or ["a"] * number),
        np.arange(number),
        [(str(place), f"text {place}") for place in range(number)],
        np.array(gaps),
        np.zeros(number),
    )


def test_score_counts_pairs() -> None:
    found = score(judged([1.0, 2.0, -1.0, 0.0]))
    assert found.accuracy == (2 + 0.5) / 4
    assert found.number == 4
    both = Judged(np.array(["a"] * 2), np.arange(2), [], np.array([3.0, 1.0]), np.array([2.0, 0.0]))
    assert score(both).auc == 3 / 4  # 3 > 2, 3 > 0, 1 > 0, and 1 < 2
    assert score(both).accuracy == 1.0


GAPS = st.lists(st.sampled_from([0.0, 0.5, -0.5]) | st.floats(-9, 9), min_size=1, max_size=60)


@settings(max_examples=80, deadline=None)
@given(GAPS, st.integers(0, 3))
def test_what_is_kept_is_symmetric(gaps: list[float], seed: int) -> None:
    kinds = ["ab"[place % 2] for place in range(len(gaps))]
    found = judged(gaps, kinds)
    kept = symmetric(found, seed)
    for kind in "ab":
        own = np.array(gaps)[kept & (found.kinds == kind)]
        assert (own > 0).sum() == (own < 0).sum()
    assert kept[np.array(gaps) == 0].all()


def test_nothing_symmetric_is_left_out() -> None:
    assert symmetric(judged([1.0, -1.0, 2.0, -2.0, 0.0]), 0).all()
    assert not symmetric(judged([1.0, 1.0, 2.0]), 0).any()


def planted(folder: Path, pairs: list[tuple[str, str]]) -> Judged:
    """The blind test by trigrams of these captions and near misses."""
    path = sidecar_path(folder / "00000.tar", "negatives")
    path.parent.mkdir(parents=True)
    rows = [
        {"key": f"{place:09}", "kinds": ["x"], "originals": [true], "texts": [false]}
        for place, (true, false) in enumerate(pairs)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    shards = [folder / "00000.tar"]
    return judged_by(shards, "negatives", by_trigrams(shards, "negatives", 0))


def test_planted_hints_are_found_and_none_where_there_is_none(tmp_path: Path) -> None:
    true, other = captions(600), captions(600, seed=1)
    shuffled = [" ".join(reversed(text.split())) for text in true]
    found = score(planted(tmp_path / "a", list(zip(true, shuffled, strict=True))))
    assert found.accuracy > 0.99
    assert found.auc > 0.99
    fair = score(planted(tmp_path / "b", list(zip(true, other, strict=True))))
    assert fair.interval is not None
    assert fair.interval[0] < 0.5 < fair.interval[1]
    # were the judged caption among those that it learns from, it would know each by its number
    numbered = [(f"{text} {i}", f"{text} {i + 9999}") for i, text in enumerate(true)]
    assert score(planted(tmp_path / "c", numbered)).accuracy == pytest.approx(0.5)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards of dogs and few cats, so that a cat gives a near miss away."""
    (tmp_path / "0.jpg").write_bytes(jpeg(0))
    rows = ["image\tcaption"]
    for place in range(60):
        (tmp_path / f"{place}.jpg").write_bytes(jpeg(place))
        noun = "dog" if place % 6 else "cat"
        rows.append(f"{place}.jpg\tA {COLOURS[place % 3]} {noun} runs {PLACES[place % 4]} .")
    (tmp_path / "t.tsv").write_text("\n".join(rows) + "\n")
    build(
        Build(input=tmp_path / "t.tsv", output=tmp_path / "data", samples_per_shard=30, workers=1)
    )
    return tmp_path / "data"


def contents(shards: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(shards)): path.read_bytes()
        for path in (shards / "annotations").rglob("negatives*/**/*.parquet")
    }


def test_refined_in_parts_is_refined_at_once(
    shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"shards": [str(shards)], "refine": "ngram", "workers": 1}
    negatives(Negatives(**options, part="2/2"))
    assert "1 of 2 shards are not finished yet" in capsys.readouterr().out
    negatives(Negatives(**options, part="1/2"))
    printed = capsys.readouterr().out
    assert "blind test by trigrams of the captions, of what is left:" in printed
    in_parts = contents(shards)
    assert len(in_parts) == 4
    for name in in_parts:
        (shards / name).unlink()
    negatives(Negatives(**options))
    assert contents(shards) == in_parts
    for name in ("00000", "00001"):
        every, left = (
            pq.read_table(sidecar_path(shards / f"{name}.tar", one)).to_pylist()
            for one in ("negatives/.all", "negatives")
        )
        assert [row["key"] for row in every] == [row["key"] for row in left]
        for before, after in zip(every, left, strict=True):
            assert set(after["texts"]) <= set(before["texts"])
            assert len(after["texts"]) == len(after["kinds"]) == len(after["by"])


def test_refined_sidecars_of_other_settings_are_not_replaced(shards: Path) -> None:
    recipe = Recipe(name="negatives", schema=sidecar.SCHEMA, settings={"mode": "mine"})
    write_sidecar(shards / "00000.tar", recipe, Made([]))
    with pytest.raises(InputError, match="mode was 'mine'"):
        negatives(Negatives(shards=[str(shards)], refine="ngram", workers=1))
