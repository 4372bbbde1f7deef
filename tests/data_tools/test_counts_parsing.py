"""What captions count: nouns, meanings of number words, and CountBench's captions."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools import plurals
from data_tools.counting.claims import find_phrase, parse
from data_tools.counting.classes import COCO, counted_classes
from data_tools.counting.meanings import EXCLUSIONS
from data_tools.lots import rng
from data_tools.plurals import is_plural, singular
from vlp.data.numbers import NUMBERS, find_numbers, replace_number, with_each_number

COUNTBENCH = Path(__file__).parents[3] / "shared" / "data" / "metadata" / "CountBench.json"


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("dogs", "dog"), ("Women", "woman"), ("people", "person"), ("children", "child"),
        ("firemen", "fireman"), ("puppies", "puppy"), ("movies", "movie"), ("ties", "tie"),
        ("boxes", "box"), ("buses", "bus"), ("glasses", "glass"), ("brushes", "brush"),
        ("benches", "bench"), ("horses", "horse"), ("vases", "vase"), ("houses", "house"),
        ("knives", "knife"), ("wolves", "wolf"), ("gloves", "glove"), ("waves", "wave"),
        ("tomatoes", "tomato"), ("shoes", "shoe"), ("canoes", "canoe"), ("geese", "goose"),
        ("sheep", "sheep"), ("oxen", "ox"), ("bikes", "bike"), ("skis", "ski"), ("keys", "key"),
        ("giraffes", "giraffe"), ("taxis", "taxi"), ("leaves", "leaf"), ("calves", "calf"),
        ("slices", "slice"), ("oranges", "orange"), ("bees", "bee"), ("menus", "menu"),
    ],
)  # fmt: skip
def test_singulars(plural, one):
    assert is_plural(plural)
    assert singular(plural) == one


@pytest.mark.parametrize(
    "word", ["grass", "bus", "tennis", "delicious", "his", "this", "sits", "across", "dog", "gas"]
)
def test_words_in_s_that_are_no_plurals(word):
    assert not is_plural(word)
    assert singular(word) == word


@pytest.mark.parametrize(
    ("one", "several"),
    [
        *(("dog", "dogs"), ("bus", "buses"), ("box", "boxes"), ("watch", "watches")),
        *(("puppy", "puppies"), ("boy", "boys"), ("knife", "knives"), ("bookshelf", "bookshelves")),
        *(("wolf", "wolves"), ("roof", "roofs"), ("chef", "chefs"), ("wife", "wives")),
        *(("policewoman", "policewomen"), ("human", "humans"), ("grandchild", "grandchildren")),
        *(("salesperson", "salespeople"), ("sheep", "sheep"), ("goldfish", "goldfish")),
        *(("mouse", "mice"), ("cow", "cows"), ("potato", "potatoes"), ("piano", "pianos")),
        *(("corgi", "corgis"), ("tutu", "tutus"), ("moustache", "moustaches")),
    ],
)
def test_plurals_are_those_of_the_dictionary_and_lead_back(one, several):
    assert plurals.plural(one) == several
    assert is_plural(several)
    assert singular(several) == one


def test_plurals_of_several_words():
    assert plurals.plural("police officer") == "police officers"
    assert plurals.plural("pair of chopsticks") == "pairs of chopsticks"
    assert plurals.plural("cattle") == "cattle"


@pytest.mark.parametrize(
    ("caption", "count", "noun"),
    [
        ("Three dogs run", 3, "dogs"),
        ("two small brown and white dogs play", 2, "dogs"),
        ("FOUR TOOTHBRUSHES in a cup", 4, "TOOTHBRUSHES"),
        ("two sports cars race", 2, "cars"),
        ("five young men's bicycles", 5, "bicycles"),
        ("a man with two large, hairy dogs", 2, "dogs"),
        ("two men sit on benches", 2, "men"),
        ("two boys, both seven years old, play", 2, "boys"),
        ("six 'old' \"wooden\" chairs", 6, "chairs"),
        ("two giraffe standing on dirt", 2, "giraffe"),
        ("Set of ten", 10, ""),
        ("two on a bench", 2, ""),
        ("on the platform two people wait", 2, "people"),
        ("Two dogs line up side by side", 2, "dogs"),
        ("three men and women at a table", 3, "men"),
        ("two dogs jumping over three-foot walls", 2, "dogs"),
        ("Set Of Four Wine Glasses For Sale", 4, "Glasses"),
        ("two players, number five and a coach", 2, "players"),
    ],
)
def test_captions_that_count(caption, count, noun):
    parsed = parse(caption)
    assert parsed.outcome == "claim", parsed
    assert (parsed.claim.count, parsed.claim.noun) == (count, noun)
    span = parsed.claim.span
    assert caption[span.start : span.end].lower() == NUMBERS[count]


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("a boy who is two years old", "age"),
        ("a five-year-old girl", "age"),
        ("a girl aged six", "age"),
        ("it is five o'clock", "time"),
        ("after ten minutes", "time"),
        ("cooked for two long hours", "time"),
        ("a snake of three metres", "unit"),
        ("six feet tall", "unit"),
        ("for ten dollars", "price"),
        ("$five each", "price"),
        ("one of two dogs", "part"),
        ("two of the dogs", "part"),
        ("some of the five men", "part"),
        ("a two-story house", "compound"),
        ("a two story house", "compound"),
        ("an orange ten speed bike", "compound"),
        ("a rubik cube of four by four", "size"),
        ("a three x five print", "size"),
        ("the Big Five animals of Africa", "title"),
        ("a poster of the Fantastic Four", "title"),
        ("the seven wonders of the world", "title"),
        ("a photo by Studio Seven in the woods of the north", "title"),
        ("chapter two", "label"),
        ("a runner with the number nine", "label"),
        ("a top-ten list", "label"),
        ("at least three dogs", "bound"),
        ("more than two men", "bound"),
        ("one or two dogs", "range"),
        ("two to three dogs", "range"),
        ("three or more dogs", "range"),
        ("two more dogs", "of more"),
        ("a man and two others", "of more"),
        ("cut into two halves", "fraction"),
        ("two thirds of a cake", "fraction"),
        ("three in a row", "idiom"),
        ("two rows of chairs", "collection"),
        ("five different types of fish", "collection"),
        ("three cats and dogs", "shared"),
    ],
)
def test_number_words_that_count_nothing(caption, reason):
    parsed = parse(caption)
    assert (parsed.outcome, parsed.reason, parsed.claim) == ("excluded", reason, None)
    assert reason in EXCLUSIONS
    assert len(parsed.words) == len(find_numbers(caption))


@pytest.mark.parametrize("caption", ["two hundred dogs", "a kitten often", "twenty-two men", "one"])
def test_no_number(caption):
    assert parse(caption).outcome == "no number"


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("two dogs and three cats", "several numbers"),
        ("two dogs and two cats", "several numbers"),
        ("two dogs. The two dogs run", "the number twice"),
    ],
)
def test_ambiguous_captions(caption, reason):
    parsed = parse(caption)
    assert (parsed.outcome, parsed.reason) == ("ambiguous", reason)
    assert len(parsed.words) == 2


@pytest.mark.parametrize(
    ("phrase", "classes"),
    [
        ("men", {"person"}), ("young women", {"person"}), ("puppies", {"dog"}),
        ("hot dogs", {"hot dog"}), ("teddy bears", {"teddy bear"}), ("polar bears", {"bear"}),
        ("mice", None), ("computer mice", {"mouse"}), ("baseball bats", {"baseball bat"}),
        ("bats", None), ("red wine glasses", {"wine glass"}), ("towers", None),
        ("bikes", {"bicycle", "motorcycle"}), ("knives", {"knife"}), ("sea lions", None),
    ],
)  # fmt: skip
def test_nouns_mean_classes_of_coco(phrase, classes):
    assert counted_classes(tuple(phrase.split())) == classes


def test_nouns_mean_labels_of_other_vocabularies():
    labels = ("red square", "blue square", "blue circle", "tower", "dog", "bear paw")
    assert counted_classes(("squares",), labels) == {"red square", "blue square"}
    assert counted_classes(("blue", "squares"), labels) == {"blue square"}
    assert counted_classes(("tall", "towers"), labels) == {"tower"}
    assert counted_classes(("kittens",), labels) is None
    assert counted_classes(("hot", "dogs"), labels) is None
    assert counted_classes((), labels) is None


def test_every_class_of_coco_is_meant_by_its_own_name():
    for label in set(COCO) - {"mouse"}:  # of which captions mean the animal
        assert counted_classes(tuple(label.split())) == {label}, label


@given(st.text())
def test_any_text_is_parsed(text):
    parsed = parse(text)
    assert (parsed.claim is not None) == (parsed.outcome == "claim")
    assert len(parsed.words) == len(find_numbers(text))


@given(
    st.sampled_from(list(NUMBERS.items())), st.sampled_from(["{} dogs", "A {} men band", "x {}"])
)
def test_the_loader_edits_the_word_that_was_verified(number, form):
    caption = form.format(number[1])
    claim = parse(caption).claim
    if claim is not None:
        texts = with_each_number(caption, claim.count, claim.noun)
        span = claim.span
        assert {text[: span.start] for text in texts} == {caption[: span.start]}
        assert {text.endswith(caption[span.end :]) for text in texts} == {True}


def tokens(text):
    """Maximal runs of letters and digits, and every other character by itself."""
    return re.findall(r"[^\W_]+|[\W_]", text)


@pytest.fixture(scope="module")
def countbench():
    if not COUNTBENCH.is_file():
        pytest.skip("CountBench's captions are not here")
    return json.loads(COUNTBENCH.read_text(encoding="utf-8"))


def test_countbench_numbers_and_nouns_are_found(countbench):
    found = [
        [s for s in find_numbers(one["text"]) if s.count == one["number"]] for one in countbench
    ]
    assert len(countbench) == 540
    assert sum(map(bool, found)) >= 0.98 * 540
    pairs = zip(countbench, found, strict=True)
    nouns = [any(find_phrase(one["text"], span) for span in spans) for one, spans in pairs]
    assert sum(nouns) >= 425
    parsed = [parse(one["text"]) for one in countbench]
    claims = [one.claim for one in parsed]
    assert sum(claim is not None for claim in claims) >= 440
    right = [c.count == one["number"] for c, one in zip(claims, countbench, strict=True) if c]
    assert sum(right) >= 0.98 * len(right)


def test_countbench_counterfactuals_change_one_token_which_is_the_number(countbench):
    checked = 0
    for one in countbench:
        text = one["text"]
        spans = [span for span in find_numbers(text) if span.count == one["number"]]
        claim = parse(text).claim
        for span in [*spans, *([claim.span] if claim else [])]:
            wrong = rng(0, text).choice([n for n in NUMBERS if n != span.count])
            for number in {wrong, *NUMBERS} - {span.count}:
                before, after = tokens(text), tokens(replace_number(text, span, number))
                assert len(before) == len(after)
                pairs = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
                ((old, new),) = pairs
                assert (old.lower(), new.lower()) == (NUMBERS[span.count], NUMBERS[number])
                checked += 1
    assert checked > 540 * 8
