import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.data.numbers import (
    NUMBERS,
    NumberSpan,
    find_number,
    find_numbers,
    replace_number,
    with_each_number,
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a kitten often of some height, a canine, sixty of them",
        "twos tens foursome sixth network attend weight",
        "twenty-two, Thirty five, NINETY-NINE and a hundred and two",
        "five hundred, ten thousand, two dozen and three-million",
        "two hundred five people",
        "five thousand two hundred and six cars",
        "six million two dogs",
        "Two-Hundred-and-Five, a hundred-and-ten and two dozen-five",
        "2 or 3",
        "ſix and fıve",  # letters that are s and i when case is ignored
        "éten tené ten_",
    ],
)
def test_no_number_word(text):
    assert find_numbers(text) == []


def test_words_at_boundaries():
    text = "Two cats, TEN dogs; a three-piece (five) seven's and 'nine'"
    assert [text[span.start : span.end] for span in find_numbers(text)] == [
        "Two",
        "TEN",
        "three",
        "five",
        "seven",
        "nine",
    ]
    assert [span.count for span in find_numbers(text)] == [2, 10, 3, 5, 7, 9]
    assert [span.count for span in find_numbers("two three hundred four")] == [2]
    assert [span.count for span in find_numbers("two hundred men and five dogs")] == [5]


def test_case_is_kept():
    for old, new in (("nine", "five"), ("Nine", "Five"), ("NINE", "FIVE")):
        (span,) = find_numbers(f"{old} often")
        assert replace_number(f"{old} often", span, 5) == f"{new} often"
    with pytest.raises(ValueError, match="number 11: choices are 2 to 10"):
        replace_number("two", NumberSpan(0, 3, 2), 11)


def test_the_noun_tells_which_occurrence():
    text = "two men and two small dogs beside Two Red Boxes"
    assert find_number(text, 2).start == 0
    assert find_number(text, 2, "men").start == 0
    assert find_number(text, 2, "dog").start == 12
    assert find_number(text, 2, "red box").start == 34
    assert find_number(text, 2, "cats").start == 0
    assert find_number(text, 3) is None
    assert find_number("two men with two men", 2, "men").start == 0
    assert find_number("two (a+b) and two c", 2, "(a+b").start == 0


def test_each_number():
    texts = with_each_number("Two men, two dogs", 2, "dogs")
    assert texts == [f"Two men, {word} dogs" for word in NUMBERS.values()]
    assert with_each_number("Two men", 3) is None
    assert with_each_number("eleven men", 11) is None


numbers = st.sampled_from(sorted(NUMBERS))
cases = st.sampled_from([str.lower, str.upper, str.capitalize])
around = st.text(alphabet=st.sampled_from(" ab-,.'éſ2") | st.characters(), max_size=12)


@given(st.text())
def test_spans_are_words_of_the_text(text):
    for span in find_numbers(text):
        assert text[span.start : span.end].lower() == NUMBERS[span.count]


@given(around, numbers, cases, around, numbers, st.text(max_size=4))
def test_replacing_changes_one_word_and_comes_back(before, count, case, after, other, noun):
    text = f"{before} {case(NUMBERS[count])} {after}"
    spans = find_numbers(text)
    for place, span in enumerate(spans):
        changed = replace_number(text, span, other)
        assert changed.startswith(text[: span.start])
        assert changed.endswith(text[span.end :])
        (back,) = [found for found in find_numbers(changed) if found.start == span.start]
        assert back.count == other
        assert [found.count for found in find_numbers(changed)] == [
            other if at == place else found.count for at, found in enumerate(spans)
        ]
        assert replace_number(changed, back, span.count) == text
    every = with_each_number(text, count, noun)
    if every is not None:
        assert every[count - 2] == text
        assert len(set(every)) == 9
