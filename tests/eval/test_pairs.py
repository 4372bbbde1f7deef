"""One's own table of pairs as an evaluation set."""

from pathlib import Path

import pytest

from eval.datasets import open_dataset
from eval.datasets.selection import TEXT
from eval.run import check
from eval.spec import EvalSpec
from tests.eval.written import TASK, evaluated, told, write_csv, write_lines, write_pictures

DATA = Path(__file__).parents[3] / "shared" / "data"


def test_own_pairs_one_row_a_picture(tmp_path):
    rows = [
        {
            "image": f"photos/{n}.png",
            "captions": [f"{word} red cups", "cups"],
            "negatives": [f"{word} blue cups", "no cups"],
            "kinds": ["colour", "count"],
            "number": n,
            "label": ("cup", "mug")[n % 2],
            "id": n,
            "more": {"x": 1},
        }
        for n, word in ((2, "two"), (3, "three"), (4, "four"))
    ]
    write_lines(tmp_path / "mine.jsonl", rows)
    write_pictures(tmp_path / "photos", "2.png", "3.png", "4.png")
    for path in (tmp_path, tmp_path / "mine.jsonl"):
        found = open_dataset(path)
        assert (found.name, found.layout, found.split) == (tmp_path.name, "pairs", None)
        assert found.keys == ["photos/2.png", "photos/3.png", "photos/4.png"]
        assert found.captions[1] == ["three red cups", "cups"]
        assert found.numbers == [2, 3, 4]
        assert found.labels.tolist() == [0, 1, 0]
        assert found.classnames == ["cup", "mug"]
        assert found.caption_ids is None
        assert told(found)["3"] == [
            (TEXT, "photos/3.png", "three red cups", "photos/3.png", "three blue cups", "colour"),
            (TEXT, "photos/3.png", "three red cups", "photos/3.png", "no cups", "count"),
        ]
        assert found.item(0)[1].size == (11, 9)
    record = evaluated(tmp_path)
    assert set(record["metrics"]) == {"acc", "pair_acc", "acc_colour", "acc_count", "macro_acc"}
    for task in ("retrieval", "counting", "zeroshot_classification"):
        check(EvalSpec(task=task, data=str(tmp_path)))


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_own_pairs_one_row_a_caption(tmp_path, suffix, delimiter):
    rows = [
        {"image": "a.png", "caption": "one, two", "split": "test", "id": "a#0", "negatives": ""},
        {"image": "b.png", "caption": "three", "split": "test", "id": "b#0", "negatives": "four"},
        {"image": "./a.png", "caption": "five", "split": "test", "id": "a#1", "negatives": ""},
        {"image": "c.png", "caption": "six", "split": "train", "id": "c#0", "negatives": '["x"]'},
    ]
    write_csv(tmp_path / f"own.{suffix}", rows, delimiter)
    write_pictures(tmp_path, "a.png", "b.png", "c.png")
    found = open_dataset(tmp_path)
    assert (found.split, found.keys) == ("test", ["a.png", "b.png"])
    assert found.captions == [["one, two", "five"], ["three"]]
    assert found.caption_ids == [["a#0", "a#1"], ["b#0"]]
    assert list(told(found)) == ["b#0"]
    assert (found.labels, found.numbers) == (None, None)
    assert open_dataset(tmp_path, "train").selection.texts == ["six", "x"]
    with pytest.raises(ValueError, match="no split 'dev'; choices of --split are test, train"):
        open_dataset(tmp_path, "dev")


def test_class_numbers_have_their_names_beside_them(tmp_path):
    write_csv(tmp_path / "own.csv", [{"image": "a.png", "label": "1"}])
    write_pictures(tmp_path, "a.png")
    (tmp_path / "classnames.txt").write_text("cup\nmug\n")
    found = open_dataset(tmp_path)
    assert (found.labels.tolist(), found.classnames, found.captions) == ([1], ["cup", "mug"], None)


def test_a_caption_may_begin_with_a_bracket(tmp_path):
    write_csv(tmp_path / "own.csv", [{"image": "a.png", "caption": "[a sign"}])
    write_pictures(tmp_path, "a.png")
    assert open_dataset(tmp_path).captions == [["[a sign"]]


PLAIN = {"image": "a.png", "caption": "x"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([PLAIN, {"image": "", "caption": "x"}], "line 2: expected a text in 'image', got ''"),
        ([PLAIN, {"image": "a.png", "caption": 7}], "line 2: expected texts in 'caption', got 7"),
        ([PLAIN, {"image": "b.png"}], "line 2: no caption, but other pictures have one"),
        ([{"image": "a.png", "caption": ""}], "no caption and no label in any row"),
        ([PLAIN, {**PLAIN, "number": "many"}], "line 2: expected a number in 'number', got 'many'"),
        ([{**PLAIN, "count": 2.5}], "line 1: expected a whole number in 'count', got 2.5"),
        ([{**PLAIN, "number": 2}, {**PLAIN, "number": 3}], "line 2: number 3, but another row"),
        ([{**PLAIN, "label": True}], "line 1: expected a class in 'label', got True"),
        ([{**PLAIN, "negatives": ["a", "b"], "kinds": ["c"]}], "line 1: 2 negatives, but 1 kinds"),
        ([{"image": "a.png", "label": "x", "negatives": ["a"]}], "line 1: negatives, but no cap"),
        ([{**PLAIN, "negatives": ["a"], "id": 1}] * 2, "line 2: two items are called '1'"),
    ],
)
def test_bad_rows_are_named(tmp_path, rows, message):
    write_lines(tmp_path / "own.jsonl", rows)
    write_pictures(tmp_path, "a.png", "b.png")
    with pytest.raises(ValueError, match=message):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture,text\na.png,x\n", "no column 'image'; its columns are picture, text"),
        ("image,caption\n", "no row in it"),
    ],
)
def test_a_table_without_pictures_says_what_it_has(tmp_path, text, message):
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        open_dataset(tmp_path / "own.csv")


def test_tables_that_cannot_be_used(tmp_path):
    write_lines(tmp_path / "own.jsonl", [PLAIN])
    with pytest.raises(
        FileNotFoundError, match=r"none of its 1 pictures is there, the first: 'a\.png"
    ):
        open_dataset(tmp_path / "own.jsonl")
    write_csv(tmp_path / "other.csv", [PLAIN])
    with pytest.raises(ValueError, match=r"several tables: other\.csv, own\.jsonl; give the path"):
        open_dataset(tmp_path)
    (tmp_path / "own.jsonl").write_text('{"image": "a.png"\n')
    with pytest.raises(ValueError, match=r"own\.jsonl, line 1: not JSON"):
        open_dataset(tmp_path / "own.jsonl")
    (tmp_path / "other.csv").write_text("image,caption\na.png\n")
    with pytest.raises(ValueError, match=r"other\.csv, line 2: 1 fields, but the header has 2"):
        open_dataset(tmp_path / "other.csv")
    write_csv(tmp_path / "other.csv", [PLAIN])
    with pytest.raises(ValueError, match="has no splits, but --split asks for 'test'"):
        open_dataset(tmp_path / "other.csv", "test")
    write_pictures(tmp_path, "a.png")
    with pytest.raises(ValueError, match=r"nothing to choose from; needs .* rows with `negatives`"):
        check(EvalSpec(task=TASK, data=str(tmp_path / "other.csv")))


@pytest.mark.skipif(not (DATA / "flickr8k").is_dir(), reason="the flickr8k data is not here")
def test_real_table_of_captions():
    found = open_dataset(DATA / "flickr8k" / "captions.tsv")
    assert (found.name, found.split, len(found)) == ("flickr8k", "test", 1000)
    assert sum(map(len, found.captions)) == 5000
