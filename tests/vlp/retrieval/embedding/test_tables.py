"""Tables as data: which columns, which types, which rows belong together."""

import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.vlp.retrieval.embedding.pictures_made import (
    embedded_table,
    folder_of,
    json_lines,
    picture,
)
from tests.vlp.retrieval.embedding.test_sources import names, opened, refusal
from vlp.retrieval.embedding.columns import schema_of
from vlp.retrieval.pictures import read_picture


@pytest.fixture
def pictures(tmp_path):
    return folder_of(tmp_path, ["p/a.png", "p/b.png", "p/c.png"])


def test_rows_of_one_picture_are_merged(pictures):
    (pictures / "t.tsv").write_text(
        "image\tcaption\tsplit\tn\n"
        "p/a.png\ta dog\ttrain\t1\np/b.png\ta cat\tval\t2\n./p/a.png\ta puppy\ttrain\t3\n"
        "p/a.png\ta dog\ttrain\t1\n"
    )
    items, told = opened(pictures / "t.tsv")
    assert names(items, pictures) == ["p/a.png", "p/b.png"]
    assert items[0].captions == ("a dog", "a puppy")
    assert dict(items[0].metadata) == {"split": "train", "n": 1}
    assert "4 rows, 2 pictures" in told
    assert "columns image, caption" in told
    assert "differ in n: the first row counts" in told


def test_texts_that_are_numbers_become_numbers(pictures):
    (pictures / "t.csv").write_text(
        "filepath,year,price,code,name,flag\n"
        "p/a.png,1999,1.5,007,7,true\np/b.png,,2,010,x,\np/c.png,-3,1e3,1,,false\n"
    )
    items, _ = opened(pictures / "t.csv")
    kinds = {f.name: str(f.type) for f in schema_of(items)}
    assert (kinds["year"], kinds["price"], kinds["code"]) == ("int64", "double", "string")
    assert (kinds["name"], kinds["flag"]) == ("string", "string")
    assert [item.metadata["year"] for item in items] == [1999, None, -3]
    assert [item.metadata["code"] for item in items] == ["007", "010", "1"]


def test_types_of_json_stay_and_mixtures_are_texts(pictures):
    rows = [
        {"image": "p/a.png", "i": 1, "f": 1, "b": True, "m": 1, "big": 2**70, "nan": float("nan")},
        {"image": "p/b.png", "i": None, "f": 0.5, "b": None, "m": "x", "big": 1},
    ]
    items, _ = opened(json_lines(pictures / "t.jsonl", rows))
    kinds = {f.name: str(f.type) for f in schema_of(items)}
    expected = {"i": "int64", "f": "double", "b": "bool", "m": "string", "big": "string"}
    assert {name: kinds[name] for name in expected} == expected
    assert items[0].metadata["nan"] is None


def test_caption_and_captions_are_one(pictures):
    rows = [
        {"image": "p/a.png", "caption": "one", "captions": ["one", "two", " "]},
        {"image": "p/b.png", "captions": ["three"]},
        {"image": "p/c.png"},
    ]
    items, _ = opened(json_lines(pictures / "t.jsonl", rows))
    assert [item.captions for item in items] == [("one", "two"), ("three",), ()]


def test_columns_by_name(pictures):
    rows = [{"src": "a.png", "image": "no", "alt": "a dog", "caption": "no"}]
    table = json_lines(pictures / "t.jsonl", rows)
    given = {"image_column": "src", "caption_column": "alt", "images": str(pictures / "p")}
    items, _ = opened(table, **given)
    assert names(items, pictures) == ["p/a.png"]
    assert items[0].captions == ("a dog",)
    assert dict(items[0].metadata) == {"image": "no", "data_caption": "no"}


def test_mark_changes_with_the_row_alone(pictures):
    table = pictures / "t.csv"
    table.write_text("image,caption,n\np/a.png,a dog,1\np/b.png,a cat,2\n")
    before, _ = opened(table)
    table.write_text("image,caption,n\np/a.png,a dog,1\np/b.png,a cat,3\n")
    after, _ = opened(table)
    assert [a.mark == b.mark for a, b in zip(before, after, strict=True)] == [True, False]


def test_some_missing_pictures_stay_to_be_reported(pictures):
    (pictures / "t.csv").write_text("image\np/a.png\np/none.png\nhttps://x/y.png\n")
    items, _ = opened(pictures / "t.csv")
    assert [item.size > 0 for item in items] == [True, False, False]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("image\nx.png\ny.png\n", "not one of 2 pictures is there"),
        ("image\nhttps://x/y.png\n", "addresses are not fetched"),
        ("src,n\np/a.png,1\n", "Name it by --image-column; there are: src, n"),
        ("image,n\np/a.png\n", "line 2: 1 fields, but the header has 2"),
        ("image\n\n", "no rows"),
        ("", "empty"),
        ("image,image\na,b\n", "appears 2 times"),
        ("image,n\n,1\n", "line 2: column 'image' holds '', not a picture"),
    ],
)
def test_tables_that_cannot_be_used_are_named(pictures, content, told):
    (pictures / "t.csv").write_text(content)
    message = refusal(pictures / "t.csv")
    assert told in message
    assert str(pictures) in message


def test_wrong_values_are_named_with_their_line(pictures):
    rows = [{"image": "p/a.png", "caption": 3}]
    assert "line 1: a caption is 3" in refusal(json_lines(pictures / "t.jsonl", rows))
    rows = [{"image": "p/a.png"}, {"picture": "p/b.png"}]
    assert "line 2: no column 'image'" in refusal(json_lines(pictures / "t.jsonl", rows))
    rows = [{"image": "p/a.png", **{f"c{i}": i for i in range(1001)}}]
    assert "more than 1000 columns" in refusal(json_lines(pictures / "t.jsonl", rows))
    table = json_lines(pictures / "t.jsonl", [{"image": "p/a.png"}])
    assert "no column 'x' (--caption-column)" in refusal(table, caption_column="x")


def test_parquet_of_paths(pictures):
    columns = {
        "image_path": ["p/a.png", "p/b.png"],
        "when": pa.array([1, 2], pa.timestamp("ns")),
        "day": [datetime.date(2020, 1, 2), None],
        "raw": [b"x", b"y"],
        "tags": [["a"], []],
        "n": pa.array([1, None], pa.int8()),
    }
    pq.write_table(pa.table(columns), pictures / "t.parquet")
    items, told = opened(pictures / "t.parquet")
    assert names(items, pictures) == ["p/a.png", "p/b.png"]
    assert [item.metadata["n"] for item in items] == [1, None]
    assert items[0].metadata["day"] == "2020-01-02"
    assert str(items[0].metadata["when"]).startswith("1970-01-01 00:00:00")
    assert "raw" not in items[0].metadata
    assert "records: tags" in told


def test_parquet_that_holds_its_pictures(tmp_path, pictures):
    held = [(None, picture(n)) for n in range(3)] + [("p/a.png", None)]
    table = embedded_table(
        tmp_path / "t.parquet", held, caption=["w", "x", "y", "z"], n=[1, 2, 3, 4]
    )
    items, _ = opened(table)
    assert [read_picture(item.image_path) for item in items[:3]] == [data for _, data in held[:3]]
    assert names(items[3:], tmp_path) == ["p/a.png"]
    assert [(item.caption, item.metadata["n"]) for item in items[2:]] == [("y", 3), ("z", 4)]


def test_folder_of_parquets(tmp_path):
    (tmp_path / "data").mkdir()
    for n in (1, 0):
        embedded_table(tmp_path / f"data/train-{n}.parquet", [("x", picture(n))], caption=[f"c{n}"])
    items, _ = opened(tmp_path)
    assert [item.caption for item in items] == ["c0", "c1"]


def test_broken_parquet_is_named(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    assert "t.parquet: not readable as parquet" in refusal(tmp_path / "t.parquet")


def test_halves_of_characters_are_replaced(pictures):
    rows = [{"image": "p/a.png", "caption": "a \ud83d dog", "t": "\udc00"}]
    items, _ = opened(json_lines(pictures / "t.jsonl", rows))
    assert items[0].caption == "a ? dog"
    assert items[0].metadata["t"] == "?"
