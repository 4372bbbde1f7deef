"""`tokenizer.json` gives the ids of open_clip's tokenizers, whatever the text."""

import ftfy
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from tests.vlp.export.tiny import write_words
from vlp.errors import InputError
from vlp.export.tokenizer_json import of_open_clip
from vlp.model.tokens import Tokenizer as OwnTokenizer

LENGTH = 16
ODD = "aA'’ʼ“”ﬁŉǅＦｱΣσςßİıſKÅé\u0301\u0327你👍🏽٣½.,!?_-<>|\\`\n\t\r\x85\u2028\u3000\x1b\x00\ufeff\xad"  # noqa: E501
TEXTS = st.text(
    st.one_of(st.characters(exclude_categories=["Cs", "Cn"]), st.sampled_from(ODD)), max_size=30
)


def written(inner):
    return of_open_clip(OwnTokenizer(inner), LENGTH).fixed


@pytest.fixture(scope="module")
def clip():
    ours = SimpleTokenizer(context_length=LENGTH)
    return ours, written(ours)


def in_domain(text):
    """What a tokenizer.json can express: ftfy's repair of wrong decoding and entities are apart,
    and so are texts that spell CLIP's special tokens.
    """
    repaired = ftfy.fix_text(text) != ftfy.fix_text(text, fix_encoding=False)
    return "&" not in text and not repaired and "_of_text>" not in text.lower()


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(TEXTS.filter(in_domain))
@example("ΟΔΟΣ. ΣΑΣ ΣΣ Σ")
@example("it'ſ 'S 's 'LL")
@example("\x1b[31mred\x1b[0m")
@example("ﬁ ﬂ ĳ ŉ ＦＵＬＬ　ｗｉｄｔｈ ｶﾞ")
@example("word " * 30)
def test_ids_are_those_of_open_clip(clip, text):
    ours, made = clip
    assert made.encode(text).ids == ours([text])[0].tolist()


def test_the_end_stays_where_a_text_is_cut(clip):
    _, made = clip
    ids = made.encode("dog " * 100).ids
    assert len(ids) == LENGTH
    assert (ids[0], ids[-1]) == (49406, 49407)
    assert made.encode("dog").ids[3:] == [0] * (LENGTH - 3)


def test_a_special_token_that_a_text_spells_is_that_token(clip):
    ours, made = clip
    text = "a <end_of_text> b <start_of_text>"
    assert made.encode(text).ids == ours([text])[0].tolist()


@pytest.mark.parametrize("clean", ["canonicalize", "whitespace", "lower"])
def test_every_way_of_cleaning(clean):
    ours = SimpleTokenizer(context_length=LENGTH, clean=clean)
    made = written(ours)
    for text in ["A Photo, of (two)_Dogs!", " it's  10 o'clock;\n", "ÀÉ Σας", ""]:
        assert made.encode(text).ids == ours([text])[0].tolist()


@pytest.mark.parametrize("pad", ["<pad>", "</s>"])
@pytest.mark.parametrize("clean", ["canonicalize", "whitespace"])
def test_tokenizers_of_hugging_face(clean, pad, tmp_path):
    write_words(tmp_path, pad)
    ours = HFTokenizer(str(tmp_path), context_length=LENGTH, clean=clean)
    made = written(ours)
    for text in [
        "a photo of two dogs",
        "A Photo, of two_dogs!",
        "café – on the left",
        "",
        "a " * 40,
    ]:
        assert made.encode(text).ids == ours([text])[0].tolist()


def test_the_file_holds_all_of_it(clip, tmp_path):
    ours, made = clip
    made.save(str(tmp_path / "tokenizer.json"))
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    fast = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    for text in ["A photo of “two” Dogs", "dog " * 30]:
        assert again.encode(text).ids == ours([text])[0].tolist()
        assert fast.encode(text, max_length=LENGTH, truncation=True)[0] == 49406


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"reduction_mask": "random"}, "at random"),
        ({"tokenizer_mode": "clips"}, "tokenizer_mode 'clips'"),
        ({"strip_sep_token": True}, "strip_sep_token True"),
    ],
)
def test_what_it_cannot_hold_is_refused(options, reason, tmp_path):
    write_words(tmp_path)
    own = "reduction_mask" in options
    ours = SimpleTokenizer(**options) if own else HFTokenizer(str(tmp_path), **options)
    with pytest.raises(InputError, match=reason):
        written(ours)


def test_another_cleaning_is_refused():
    ours = SimpleTokenizer()
    ours.clean_fn = str.upper
    with pytest.raises(InputError, match="in a way of its own"):
        written(ours)
