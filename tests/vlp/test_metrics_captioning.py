"""Expected values are what coco-caption itself gave for these invented sentences: its Bleu, Rouge
and Cider classes (pycocoevalcap 1.2) behind Stanford's PTBTokenizer 3.4.1.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.metrics.caption_words import caption_words
from vlp.metrics.captioning import score_captions

CAPTIONS = [
    "A black dog runs across the sandy beach.",
    "two boys play football",
    "A woman's red umbrella in the rain, in the rain",
    "train",
]
REFERENCES = [
    ["A dog is running on the beach.", "The black dog runs over sand."],
    [
        "Two boys are playing football in a park!",
        "Children play with a ball",
        "two kids and a ball",
    ],
    ["A woman holds a red umbrella in the rain.", "Someone's umbrella is red"],
    ["A long train stands at the station.", "train at a platform"],
]


def test_equals_coco_caption():
    found = score_captions(CAPTIONS, REFERENCES)
    assert found.bleu == pytest.approx(
        [0.7593583201481212, 0.539766058505874, 0.4036226567542786, 0.3080940006901895]
    )
    assert found.rouge_l == pytest.approx(
        [0.5398230088495575, 0.47164948453608246, 0.7128547579298832, 0.3609467455621302]
    )
    assert found.cider == pytest.approx(
        [1.7873914422059445, 0.9569010223496638, 2.3970980187200532, 0.9744974582889125]
    )
    assert found.metrics["bleu4"] == pytest.approx(0.3080940006901895)
    assert found.metrics["rouge_l"] == pytest.approx(0.5213184992194133)
    assert found.metrics["cider"] == pytest.approx(1.5289719853911437)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man's dog don't can't cannot", "a man 's dog do n't ca n't can not"),
        ("(in the park) [x] {y}", "-lrb- in the park -rrb- -lsb- x -rsb- -lcb- y -rcb-"),
        ("the dogs' red-haired and/or black/white", "the dogs red-haired and/or black/white"),
        ("$5 50% #1 A&W & co.", "$ 5 50 % # 1 a&w & co."),
        ("he said \"hello\" and 'bye' ... wait-- ok - no;", "he said hello and bye wait ok no"),
        ("a:b 3:30 p.m. U.S. Mr. Smith 1,000 3.5", "a b 3:30 p.m. u.s. mr. smith 1,000 3.5"),
        ("it's they're I'm we've he'd she'll", "it 's they 're i 'm we 've he 'd she 'll"),
        ("o'clock café naïve “quoted” ‘single’", "o'clock café naïve quoted single"),
        ("it’s – — … ½ €5", "it 's 1/2 $ 5"),
        ("two.three no.5 street,road x;y", "two.three no. 5 street road x y"),
        ("what?! wow!!! hmm.. ok....", "what ?! wow !!! hmm ok"),
        ("90's '90s 1990s 3-year-old 4x4 50c", "90 's '90s 1990s 3-year-old 4x4 50c"),
        ("gonna wanna gimme rock 'n' roll", "gon na wan na gim me rock 'n' roll"),
        ("* ~ ^ _ + = \\ |", "* ~ ^ _ + = \\ |"),
        (" ... \n", ""),
    ],
)
def test_words_are_those_of_the_tokenizer(text, words):
    assert caption_words(text) == words.split()


@given(st.text())
def test_words_of_any_text(text):
    words = caption_words(text)
    assert all(word and not word.isspace() and " " not in word for word in words)


def test_perfect_and_hopeless_captions():
    texts = [f"a {word} stands beside a {word} house" for word in ("red", "green", "blue", "old")]
    found = score_captions(texts, [[text] for text in texts]).metrics
    assert found == {
        **{f"bleu{order}": pytest.approx(1.0) for order in (1, 2, 3, 4)},
        "rouge_l": pytest.approx(1.0),
        "cider": pytest.approx(10.0),
    }
    found = score_captions(["x y", "", " ", "..."], [[text, "other"] for text in texts]).metrics
    assert max(found.values()) < 1e-6


def test_constant_model_says_nothing_of_a_picture():
    """The words that all pictures share have no weight in CIDEr."""
    texts = [f"a picture of something {word}" for word in ("red", "green", "blue", "old")]
    found = score_captions(["a picture of something"] * 4, [[text] for text in texts])
    assert (found.cider == 0).all()
    assert found.metrics["rouge_l"] > 0.8  # which is why CIDEr is the headline


def test_refuses_what_cannot_be_scored():
    for captions, references in (([], []), (["a"], []), (["a", "b"], [["a"], []])):
        with pytest.raises(ValueError, match="captions for"):
            score_captions(captions, references)


def test_a_single_picture_has_no_rare_words():
    assert np.array_equal(score_captions(["a b"], [["a b"]]).cider, [0.0])
