"""`negatives`: false captions by rules, whole words alone, and what speaks against one."""

import json
import random
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.build import Build, build
from data_tools.eval_captions import normalised
from data_tools.near_misses.parsing import Parsed
from data_tools.near_misses.picture import Picture
from data_tools.near_misses.rules import RULES, SWAPS, NearMiss, Rules
from data_tools.near_misses.tokens import applied, in_case_of
from data_tools.negatives import Negatives, negatives
from tests.data_tools.conftest import jpeg
from vlp.data.index import sidecar_path
from vlp.data.sidecars import Sidecars
from vlp.errors import InputError

DATA = Path(__file__).parents[3] / "shared" / "data"
SEVERAL = {
    "0": ["A black dog chases a white cat .", "A dog runs after a cat"],
    "1": ["Two men sit on a wooden bench in the park", "Some men are outdoors"],
    "2": ["strange marks", "nothing of note"],
    "3": ["A red car in front of a house", "A red car", "A blue car behind a house"],
}


SEVERAL_CAPTIONS = [caption for own in SEVERAL.values() for caption in own]


def near_misses(
    text: str, *others: str, kinds: tuple[str, ...] = RULES, most: int = 200, seed: int = 0
) -> list[NearMiss]:
    """All near misses of a caption whose picture has other captions too."""
    parsed = [Parsed.of(one) for one in (text, *others)]
    rules = Rules(kinds, most, Counter())
    return rules.near_misses(parsed[0], Picture.of(parsed), random.Random(seed))[0]


def texts(text: str, *others: str, kind: str) -> set[str]:
    return {found.text for found in near_misses(text, *others, kinds=(kind,))}


def damage(source: str, found: NearMiss) -> str:
    """What is wrong with an edit, seen by the words of both texts alone; "" if nothing."""
    if applied(source, found.edits) != found.text:
        return "the edits do not give the text"
    for start, end, _ in found.edits:
        around = source[max(start - 1, 0) : start] + source[end : end + 1]
        if found.kind != "negation" and re.search(r"[\w'’@/.-]", around.rstrip(".")):
            return f"a part of a word: {source[start:end]!r}"
    old, new = source.split(), found.text.split()
    spans = [match.span() for match in re.finditer(r"\S+", source)]
    touched = [
        place
        for place, (start, end) in enumerate(spans)
        if any(edit.start <= end and start <= edit.end for edit in found.edits)
    ]
    left, right = touched[0], len(old) - 1 - touched[-1]
    if old[:left] != new[:left] or old[len(old) - right :] != new[len(new) - right :]:
        return "another word has changed"
    if len(old) == len(new):
        changed = {place for place in range(len(old)) if old[place] != new[place]}
        if not changed <= set(touched):
            return "another word has changed"
    if found.kind in SWAPS and words(source) != words(found.text):
        return "an exchange has other words"
    return ""


def words(text: str) -> Counter[str]:
    return Counter(re.sub(r"\ban\b", "a", text.lower()).split())


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder with one shard of `SEVERAL`."""
    rows = ["image\tcaption"]
    for name, captions in SEVERAL.items():
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(int(name)))
        rows += [f"{name}.jpg\t{caption}" for caption in captions]
    (tmp_path / "t.tsv").write_text("\n".join(rows) + "\n")
    build(Build(input=tmp_path / "t.tsv", output=tmp_path / "data", workers=1))
    return tmp_path / "data"


def run(shards: Path, **options: object) -> list[dict]:
    negatives(Negatives(shards=[str(shards)], workers=1, **options))
    name = options.get("name", "negatives")
    return pq.read_table(sidecar_path(shards / "00000.tar", name)).to_pylist()


@pytest.mark.parametrize(
    ("kind", "caption", "wanted", "unwanted"),
    [
        ("noun", "An elephant in the grass", "A zebra in the grass", "A elephant"),
        ("noun", "Two dogs sleep", "Two cats sleep", "Two cat sleep"),
        ("noun", "A man waves", "A woman waves", "A person waves"),
        ("noun", "a cat on a sofa", "a cat on a bed", "a cat on a couch"),
        ("colour", "a red umbrella", "a blue umbrella", "a crimson umbrella"),
        ("colour", "a blue umbrella", "an orange umbrella", "a orange umbrella"),
        ("colour", "A BLACK CAR", "A WHITE CAR", "A white CAR"),
        ("material", "a wooden table", "a metal table", "a leather table"),
        ("size", "a big dog", "a small dog", "a large dog"),
        ("age", "a young man", "an old man", "a elderly man"),
        ("state", "an open door", "a closed door", "an closed door"),
        ("action", "a man sits on a rock", "a man stands on a rock", "a man sleeping on a rock"),
        ("relation", "a cat under the table", "a cat on top of the table", ""),
        ("relation", "a lamp to the left of a bed", "a lamp to the right of a bed", ""),
        ("number", "Three dogs run", "Five dogs run", "Three dogs run"),
        ("negation", "a man is running", "a man is not running", ""),
        ("swap-nouns", "A man carries a dog", "A dog carries a man", ""),
        ("swap-attributes", "a red car and an old blue bus", "a blue car and an old red bus", ""),
        ("order", "A black dog chases the cat", "The cat chases a black dog", ""),
    ],
)
def test_kinds(kind: str, caption: str, wanted: str, unwanted: str) -> None:
    found = texts(caption, kind=kind)
    assert wanted in found
    assert unwanted not in found


@pytest.mark.parametrize(
    "caption",
    [
        "wind in the winding hind of kingdoms",  # "in" within words
        "a red-haired and blue-eyed orange-red tan-ish thing",
        "see www.red.com/blue-car and red_car or dog.jpg",
        "the man's dogs' two-story twenty-two e-mail@dog.com",
        "Professor Brown of Orange County drives to Little Rock",
        "red/green #blue @dog dog&cat",
        "re\u0301d d\u00f6g bl\u200bue",
    ],
)
@pytest.mark.parametrize("kind", ["colour", "relation", *SWAPS])
def test_parts_of_words_and_names_stay(caption: str, kind: str) -> None:
    assert not texts(caption, kind=kind)


@pytest.mark.parametrize(
    "caption",
    ["a cat and a dog", "a cat next to a dog", "a man with a dog", "a dog near a big black dog"],
)
@pytest.mark.parametrize("kind", SWAPS)
def test_nothing_is_exchanged_that_is_true_both_ways(caption: str, kind: str) -> None:
    assert not texts(caption, kind=kind)


@pytest.mark.parametrize(
    "caption",
    ["a left turn is made by nobody", "they left the house", "he is right beside",
     "a two year old", "one of two", "hot dog", "a black and white photo", "a white man"],
)  # fmt: skip
def test_words_that_mean_something_else_stay(caption: str) -> None:
    assert not [f for f in near_misses(caption) if f.kind not in ("noun", "negation")]


@pytest.mark.parametrize(
    ("caption", "stays"),
    [
        ("A man without a red shirt runs", "without a red shirt"),
        ("a boy with no hat or shoes in a park", "with no hat or shoes"),
        ("A man isn't wearing a hat on the beach", "isn't wearing a hat on the beach"),
        ("Nobody is in the kitchen", "Nobody is in the kitchen"),
    ],
)
def test_what_a_caption_denies_stays_as_another_denial_is_true_too(
    caption: str, stays: str
) -> None:
    assert all(stays in found.text for found in near_misses(caption))


def test_a_denial_ends_with_its_phrase_or_at_a_comma() -> None:
    found = texts("A man with no shirt rides a horse", kind="noun")
    assert any("no shirt rides a dog" in text for text in found)
    assert texts("not far, a red car", kind="colour")


@pytest.mark.parametrize(
    "caption", ["a navy blue shirt", "a lime green car", "an olive green hat", "a sky blue bus"]
)
def test_colours_of_two_words_stay(caption: str) -> None:
    assert not texts(caption, kind="colour")


def test_a_bearded_man_may_be_bald() -> None:
    assert not texts("a bearded man takes a nap", kind="state")


def test_nothing_is_put_in_that_another_caption_makes_true() -> None:
    plain = texts("a dog on the beach", kind="noun")
    assert {"a cat on the beach", "a horse on the beach", "a dog on the road"} <= plain
    guarded = texts("a dog on the beach", "a kitten and animals", kind="noun")
    assert guarded
    assert not any("dog" not in text for text in guarded)
    one = texts("a dog on the beach", "an animal, and a kitten", kind="noun")
    assert "a horse on the beach" in one
    assert "a cat on the beach" not in one
    assert "a blue car" not in texts("a red car", "blue doors", kind="colour")
    assert "two dogs" not in texts("three dogs", "2 of them", kind="number")
    assert texts("a cat on the table", "the cat under a table", kind="relation") == set()
    assert texts("A man carries a dog", "a dog near a man", kind="swap-nouns") == set()


def test_a_plural_of_what_both_are_speaks_against_both() -> None:
    assert texts("a man waves", "a person waves", kind="noun") == {"a woman waves", "a lady waves"}
    assert not texts("a man waves", "people wave", kind="noun")


WORDS = (
    "A a an the red Blue black white dog Dogs cat man WOMAN two three on in under wooden table big "
    'small sits runs is and chases car house, (tree) "shirt" wind kingdom\'s t-shirt - / left '
    "right of to ÉTÉ 犬 naïve it's red. red/blue x@y.z 12 e\u0301 \u200d ſ İ"
)
CAPTION = st.lists(st.sampled_from(WORDS.split(" ")) | st.text(max_size=6), max_size=14)


@settings(max_examples=150, deadline=None)
@given(CAPTION, st.sampled_from([" ", "  ", "\n", ""]))
def test_edits_take_whole_words_of_any_text(parts: list[str], gap: str) -> None:
    source = gap.join(parts)
    for found in near_misses(source, most=30):
        assert damage(source, found) == ""
        assert normalised(found.text) != normalised(source)


@given(st.sampled_from(["dog", "DOG", "Dog", "A", "Living Room"]), st.sampled_from(["x", "ab cd"]))
def test_case(old: str, new: str) -> None:
    shown = in_case_of(old, new)
    assert shown.lower() == new
    assert shown[0].isupper() == old[0].isupper()


def test_the_sidecar_trains_and_adds_up(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = run(shards, captions="all", per_caption=3)
    printed = capsys.readouterr().out
    total, *parts = (int(n) for n in re.findall(r"(\d+) (?:captions|with)", printed)[:4])
    assert total == sum(map(len, SEVERAL.values())) == sum(parts)
    for row in rows:
        lists = [row[name] for name in ("texts", "kinds", "captions", "originals", "starts")]
        assert len(set(map(len, lists))) == 1
        for place, text in enumerate(row["texts"]):
            original = row["originals"][place]
            made = original
            names = ("starts", "ends", "replaced", "by")
            pieces = zip(*(row[name][place] for name in names), strict=True)
            for start, end, old, new in reversed(list(pieces)):
                assert original[start:end] == old
                made = made[:start] + new + made[end:]
            assert made == text
            assert original in SEVERAL_CAPTIONS
        assert all(n <= 3 for n in Counter(row["captions"]).values())
    assert rows[2]["texts"] == []  # nothing to change, and a row all the same
    shard = str(shards / "00000.tar")
    read = Sidecars(shard, ["negatives"]).of(rows[0]["key"], rows[0]["src_sha256"])
    assert read.negatives == list(zip(rows[0]["kinds"], rows[0]["texts"], strict=True))
    assert not read.missing


def test_equal_seeds_give_equal_bytes_and_others_do_not(shards: Path) -> None:
    path = sidecar_path(shards / "00000.tar", "negatives")
    run(shards)
    first = path.read_bytes()
    path.unlink()
    run(shards)
    assert path.read_bytes() == first
    with pytest.raises(InputError, match="seed was 0, is 1"):
        run(shards, seed=1)
    run(shards, seed=1, restart=True)
    assert path.read_bytes() != first


def test_rewrites_and_boxes_guard(shards: Path) -> None:
    head = run(shards, kinds="noun,colour")[0]
    ids = {name: head[name] for name in ("key", "src_sha256")}
    cars = [text for text in head["texts"] if "cat" not in text]
    for name, column, told in (
        ("rewrites", "texts", "animals in white, gray, brown, green, blue and red"),
        ("boxes", "labels", "animals"),
    ):
        path = sidecar_path(shards / "00000.tar", name)
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([ids | {column: [told]}]), path)
    assert cars
    guarded = run(
        shards, name="negatives-guarded", guard_sidecars="rewrites,boxes", kinds="noun,colour"
    )
    assert guarded[0]["texts"] == []
    with pytest.raises(InputError, match="neither `texts` nor `labels`"):
        run(shards, name="negatives-x", guard_sidecars="index")


def test_captions_of_an_evaluation_are_neither_used_nor_made(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = run(shards, kinds="number,swap-nouns")
    assert plain[1]["texts"]
    assert plain[0]["texts"] == ["A black cat chases a white dog ."]
    folder = tmp_path / "evaluation"
    folder.mkdir()
    entry = {"caption": "x", "negative_caption": "a black CAT chases the white dog"}
    (folder / "a.json").write_text(json.dumps({"0": entry}))
    (folder / "b.txt").write_text("two men sit on a wooden bench in the park.\n")
    left = run(
        shards, kinds="number,swap-nouns", name="negatives-b", exclude_captions=(str(folder),)
    )
    assert left[0]["texts"] == []
    assert left[1]["texts"] == []
    assert "1 without (the caption is one of --exclude-captions)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": "shape"}, "--kinds shape: choices with --mode rules are colour"),
        ({"name": "rewrites"}, "--name rewrites: expected negatives"),
        ({"per_caption": 0}, "--per-caption 0"),
        ({"model": "x"}, "--model: --mode rules does not use it"),
        ({"top_k": 3}, "--top-k: --mode rules does not use it"),
        ({"mode": "fill-mask"}, "needs --model"),
        ({"mode": "llm"}, "needs --backend"),
        ({"mode": "fill-mask", "model": "x", "temperature": 0.1}, "--temperature"),
    ],
)
def test_options_that_cannot_be(shards: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        run(shards, **options)


@pytest.mark.skipif(not (DATA / "flickr8k").is_dir(), reason="the flickr8k data is not here")
def test_no_word_of_real_captions_is_damaged() -> None:
    lines = (DATA / "flickr8k" / "captions.tsv").read_text(encoding="utf-8").splitlines()[1::40]
    found = [
        (line.split("\t")[1], miss)
        for line in lines
        for miss in near_misses(line.split("\t")[1], most=6)
    ]
    assert len(found) > 3000
    assert [(text, miss) for text, miss in found if damage(text, miss)] == []


@pytest.mark.skipif(not (DATA / "metadata").is_dir(), reason="the benchmarks' data is not here")
def test_no_word_of_web_captions_is_damaged() -> None:
    rows = json.loads((DATA / "metadata" / "CountBench.json").read_text(encoding="utf-8"))
    found = [(row["text"], miss) for row in rows for miss in near_misses(row["text"], most=20)]
    assert len(found) > 1500
    assert [(text, miss) for text, miss in found if damage(text, miss)] == []
