"""Verdicts on answers, written down case by case; numbers, names and scripts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.rewriting.backends import Answer
from data_tools.rewriting.examples import FLUENT, PLAIN, TWO_VIEWS, VIVID
from data_tools.rewriting.facts import implied_numbers, names, numbers, script, words
from data_tools.rewriting.quality import Asked, Limits, Verdict, clean, judge
from data_tools.rewriting.templates import PRESETS

LIMITS = Limits(min_words=2, max_words=12)


def verdict(text, caption="a dog runs", **more):
    return judge(Answer(text), Asked(caption, caption, **more), LIMITS)


@pytest.mark.parametrize(
    ("answer", "caption"),
    [
        ("A dog runs.", "A dog runs."),
        (' "A dog runs." ', "A dog runs."),
        ("Sure! Here is a rewritten caption:\n\n“A dog runs.”", "A dog runs."),
        ("Sure thing, here's a shorter version of the caption:\nA dog runs", "A dog runs"),
        ("**Caption:** A dog runs\n\nI hope this helps!", "A dog runs"),
        ("<think>The user\nwants</think>\nA dog runs", "A dog runs"),
        ("<think>never ends", ""),
        ("A dog runs\n\nanother => line", "A dog runs"),
        ("A  dog\truns", "A dog runs"),
        # nothing of a caption is taken for an announcement
        ("Great white shark, in a tank", "Great white shark, in a tank"),
        ("Sure footed goat on a rock", "Sure footed goat on a rock"),
        ("Here is the harbour: boats", "Here is the harbour: boats"),
        ('"Stop" says the sign', '"Stop" says the sign'),
        ("", ""),
    ],
)
def test_the_caption_in_an_answer(answer, caption):
    assert clean(answer) == caption


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        ("A hound dashes along.", "good"),
        ("", "empty"),
        ("...", "empty"),
        ("a dog \ufffd runs", "garbled"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("As an AI language model, I have no eyes.", "refusal"),
        ("I cannot describe this image", "refusal"),
        ("Please provide the caption you want", "refusal"),
        ("Unfortunately I see no picture", "refusal"),
        ("a hound => a dog", "leak"),
        ("User: say it in other words", "leak"),
        ("hound <|end|> dog", "leak"),
        ("A DOG RUNS!", "echo"),
        ("hound", "short"),
        ("a " + "hound and a cat and " * 2 + "a bird and a cow sit", "long"),
        ("a hound runs runs runs", "loop"),
        ("the hound and the hound and the hound and", "loop"),
        ("собака бежит", "script"),
        ("two dogs run fast", "new-number"),
    ],
)
def test_the_rule_that_rejects(answer, rule):
    assert verdict(answer).rule == rule


def test_what_the_caption_says_itself_is_no_fault_of_the_answer():
    assert verdict("a sign says: I cannot help", "sign: I cannot help").rule == "good"
    assert verdict("row row row goes the boat", "row, row, row your boat").rule == "good"


@pytest.mark.parametrize(
    ("caption", "answer", "expected"),
    [
        ("two dogs", "a pair of hounds", Verdict("good")),
        ("2 dogs", "two hounds", Verdict("good")),
        ("1,000 bees", "about 1000 bees fly", Verdict("good")),
        ("three dogs", "some hounds run", Verdict("lost-number", "3")),
        ("three dogs", "four hounds run", Verdict("lost-number", "3")),
        ("dogs in Rome", "hounds in a city", Verdict("lost-name", "rome")),
        ("dogs in Rome", "hounds among Rome's ruins", Verdict("good")),
        ("dogs, one a Corgi", "hounds, among them two Corgis", Verdict("new-number", "2")),
        ("dogs by ATVs", "hounds beside an ATV", Verdict("good")),
        ("Dogs in a town", "hounds in a village", Verdict("good")),
        ("Blue Dress For Women", "a dress in blue", Verdict("good")),  # a title tells no names
    ],
)
def test_numbers_and_names_stay(caption, answer, expected):
    assert verdict(answer, caption) == expected


def test_rules_that_hold_for_rewrites_alone():
    picture = Asked("", is_rewrite=False, is_faithful=False)
    assert judge(Answer("three dogs run"), picture, LIMITS).rule == "good"
    concise = Asked("a dog in Rome", "a dog in Rome", is_faithful=False)
    assert judge(Answer("one brown dog"), concise, LIMITS).rule == "good"


def test_an_answer_that_was_cut_off_and_one_that_failed():
    asked = Asked("a dog", "a dog")
    assert judge(Answer("a hound on the", is_finished=False), asked, LIMITS).rule == "unfinished"
    allowed = Limits(2, 12, frozenset({"unfinished"}))
    assert judge(Answer("a hound on the", is_finished=False), asked, allowed).rule == "good"
    assert judge(Answer(error="HTTP 500"), asked, LIMITS) == Verdict("failed", "HTTP 500")


def test_an_example_from_the_prompt_is_no_answer():
    template = PRESETS["examples-plain"]
    shown = frozenset(" ".join(words(rewrite)) for _, rewrite in template.examples)
    answer = template.examples[3][1]
    assert verdict(answer, shown=shown).rule == "leak"


@pytest.mark.parametrize("pool", [FLUENT, VIVID, TWO_VIEWS, PLAIN])
def test_examples_keep_to_the_rules_themselves(pool):
    assert len(pool) >= 16
    assert len({text for pair in pool for text in pair}) == 2 * len(pool)
    limits = Limits(2, 30)
    for caption, rewrite in pool:
        assert judge(Answer(rewrite), Asked(caption, caption), limits).rule == "good", rewrite


def test_numbers_names_and_scripts():
    assert numbers("Two of 12 dogs, 3.5 m, twenty-two, 007 and one") == {
        "2",
        "12",
        "3.5",
        "22",
        "7",
    }
    assert numbers("twenty dogs, thirty-six three-legged cats") == {"20", "36", "3"}
    assert implied_numbers("a pair of twins, dozens") == {"2", "12"}
    assert names("The dog of Anna. Then Rex came to New York") == {"anna", "rex", "new", "york"}
    assert script("ein Hund, собака, Wald") == "LATIN"
    assert script("犬が走る 犬犬") == "CJK"
    assert script("12 34") == ""


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_answer_to_any_caption_gets_one_verdict(answer, caption):
    found = judge(Answer(answer), Asked(caption, caption), LIMITS)
    assert found.rule
    assert "\n" not in clean(answer)


@given(st.text(max_size=100))
def test_a_cleaned_text_stays(text):
    assert clean(clean(clean(text))) == clean(clean(text))
