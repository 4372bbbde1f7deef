"""Every kind of input, and what is said about those that cannot be used."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.build import Build, build
from data_tools.building.collection import Collection, Columns
from data_tools.building.inputs import read_input
from tests.data_tools.conftest import jpeg
from tests.data_tools.trees import rows, samples
from vlp.errors import InputError

TEMPLATES = ("a photo of a {c}.",)


def read(path: Path, **columns: str) -> Collection:
    return read_input(path, Columns(**columns), TEMPLATES)


def captions(path: Path, **columns: str) -> dict[str, tuple[str, ...]]:
    """{source: captions} of an input without splits."""
    return {picture.source: picture.captions for picture in read(path, **columns).splits[""]}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(0))
    return path


def test_rows_of_one_picture_are_merged_in_order(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text('image,caption\na.jpg,"one, two"\nb.jpg,x\na.jpg,three\n')
    assert captions(table) == {"a.jpg": ("one, two", "three"), "b.jpg": ("x",)}


def test_a_list_of_captions_in_json_lines(tmp_path: Path) -> None:
    table = tmp_path / "t.jsonl"
    table.write_text(
        '{"image": "a.jpg", "caption": ["x", "", "y"]}\n\n{"image":"b","caption":null}'
    )
    assert captions(table) == {"a.jpg": ("x", "y"), "b": ()}
    assert read(table).splits[""][0].dropped_captions == 1
    assert read(table).splits[""][1].status == "empty_caption"


def test_parquet_with_lists_and_other_names(tmp_path: Path) -> None:
    table = tmp_path / "t.parquet"
    content = {
        "path": ["a.jpg", "b.jpg"],
        "texts": [["x", "y"], ["z"]],
        "score": [0.5, float("nan")],
    }
    pq.write_table(pa.table(content), table)
    assert captions(table, image="path", caption="texts") == {"a.jpg": ("x", "y"), "b.jpg": ("z",)}
    first, second = read(table, image="path", caption="texts").splits[""]
    assert first.extra == {"score": 0.5}
    assert second.extra == {"score": None}


def test_captions_are_nfc_stripped_and_without_bom(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_bytes("\ufeffimage\tcaption\na.jpg\t  cafe\u0301 \u2028\n".encode())
    assert captions(table) == {"a.jpg": ("café",)}


def test_a_tsv_without_quoting_keeps_its_quote_signs(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_text('image\tcaption\na.jpg\t"Stop" says a sign\nb.jpg\t12" wide\nc.jpg\t"open\n')
    found = captions(table)
    assert found == {"a.jpg": ('"Stop" says a sign',), "b.jpg": ('12" wide',), "c.jpg": ('"open',)}


def test_a_quoted_tsv_loses_its_quote_signs(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_text('image\tcaption\na.jpg\t"say ""hi"""\n')
    assert captions(table) == {"a.jpg": ('say "hi"',)}


def test_columns_that_differ_by_row_become_lists(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("image,caption,rater,lang\na.jpg,x,1,en\na.jpg,y,2,en\n")
    assert read(table).splits[""][0].extra == {"rater": ["1", "2"], "lang": "en"}


def test_columns_named_as_our_fields_are_kept_apart(picture: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("image,caption,width,url\na.jpg,x,999,http://x\n")
    build(Build(input=table, output=tmp_path / "out", workers=1))
    told = json.loads(samples(tmp_path / "out" / "00000.tar")["000000000"]["json"])
    assert (told["width"], told["source_width"], told["source_url"]) == (24, "999", "http://x")


def test_absolute_paths_and_paths_above_the_table(picture: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.jpg").write_bytes(jpeg(1))
    table = tmp_path / "deep" / "t.csv"
    table.write_text(f"image,caption\n{picture},x\n../b.jpg,y\n")
    build(Build(input=table, output=tmp_path / "out", workers=1))
    assert len(samples(tmp_path / "out" / "00000.tar")) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"image,text\na,b\n", "line 2: no column 'caption' .*columns are: image, text"),
        ("t.csv", b"image,caption,caption\na,b,c\n", "column 'caption' appears 2 times"),
        ("t.csv", b"image,caption\na,b\nc,caf\xe9\n", r"t.csv, line 3: not UTF-8 \(byte 0xe9"),
        ("t.csv", b"image,caption\na,b,c\n", "line 2: 3 fields, but the header has 2"),
        ("t.csv", b'image,caption\na,"b\n', "line 2: unexpected end of data"),
        ("t.csv", b"", "empty; expected a first line"),
        ("t.csv", b"image,caption\n", "no rows"),
        ("t.csv", b"image,caption\n,b\n", "line 2: column 'image' holds ''"),
        ("t.jsonl", b'{"image": 1}\n{', "line 1: column 'image' holds 1, not a path"),
        ("t.jsonl", b'{"image": "a", "caption": "b"}\n{', "line 2: not JSON"),
        ("t.jsonl", b"[" * 100_000, "line 1: JSON that is nested too deeply"),
        (
            "t.jsonl",
            b'{"image": "a", "caption": "b", "x": ' + b"[" * 600 + b"]" * 600 + b"}",
            "line 1: .*nested too deeply",
        ),
        ("t.jsonl", b'["a"]', "line 1: expected a JSON object, got list"),
        ("t.jsonl", b'{"image": "a", "image": "b"}', "line 1: .*'image' appears twice"),
        ("t.jsonl", b'{"image": "a", "caption": 5}', r"holds 5 \(int\); expected a text or a list"),
        ("t.parquet", b"image,caption\n", "t.parquet: not readable as parquet"),
        ("t.xlsx", b"PK", r"suffix '.xlsx'; expected a table \(.csv, .tsv, .jsonl, .parquet\)"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path, name, content, message) -> None:
    table = tmp_path / name
    table.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(table)


def test_a_parquet_with_a_repeated_column(tmp_path: Path) -> None:
    arrays = [pa.array(["x"])] * 3
    table = pa.Table.from_arrays(arrays, names=["image", "caption", "caption"])
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(InputError, match="column 'caption' appears 2 times"):
        read(tmp_path / "t.parquet")


@pytest.mark.parametrize("split", ["../x", "a/b", ".hidden", "annotations", "\udce9", ["a"]])
def test_a_split_that_cannot_name_a_folder(tmp_path: Path, split: object) -> None:
    table = tmp_path / "t.jsonl"
    table.write_text(json.dumps({"image": "a.jpg", "caption": "x", "split": split}))
    with pytest.raises(InputError, match="line 1: column 'split' holds"):
        read(table, split="split")


def test_a_picture_in_two_splits(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("image,caption,split\na.jpg,x,train\na.jpg,y,test\n")
    with pytest.raises(InputError, match=r"line 3: a\.jpg is in split 'test', but .*line 2"):
        read(table, split="split")


def test_captions_that_are_no_text_are_counted_by_name(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(jpeg(1))
    table = tmp_path / "t.jsonl"
    lines = [{"image": "a.jpg", "caption": "nul \0 nul"}, {"image": "b.jpg", "caption": "\ud800"}]
    (tmp_path / "c.jpg").write_bytes(jpeg(2))
    lines.append({"image": "c.jpg", "caption": "good"})
    table.write_text("\n".join(map(json.dumps, lines)))
    build(Build(input=table, output=tmp_path / "out", workers=1))
    found = rows(tmp_path / "out" / "00000.tar")
    assert [row["status"] for row in found] == ["bad_caption", "bad_caption", "success"]
    assert "NUL" in found[0]["error_message"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "nowhere.csv"], "nowhere.csv: no such file or folder"),
        (["--samples-per-shard", "0"], "--samples-per-shard 0: expected 1 to 10000"),
        (["--samples-per-shard", "10001"], "--samples-per-shard 10001"),
        (["--image-size", "0"], "--image-size 0: expected at least 1"),
        (["--image-size", "big"], "image_size"),
        (["--workers", "-1"], "--workers -1"),
        (["--caption-template", "a photo"], "has no {c}"),
        (["--templates", "nowhere.txt"], "nowhere.txt"),
        (["--split-column", "image"], "--split-column image: is --image-column already"),
        (["--caption-column", "image"], "--caption-column image: is --image-column already"),
        (["--split-column", "fold"], "no column 'fold' (--split-column)"),
        (["--caption-template", "one {c}"], "one {c}: only for class folders"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(
    photos, tmp_path, command, arguments, message
) -> None:
    start = ("build", "--input", photos, "--output", tmp_path / "out", "--workers", "1")
    code, _, err = command(*start, *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file(photos, tmp_path, command) -> None:
    (tmp_path / "out").write_text("a file")
    code, _, err = command("build", "--input", photos, "--output", tmp_path / "out")
    assert code == 2
    assert "out: File exists" in err


def test_spellings_of_one_path_are_one_picture(picture: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.jsonl"
    names = ["./a.jpg", "a.jpg", str(picture), f"../{tmp_path.name}//a.jpg"]
    lines = [{"image": name, "caption": str(place)} for place, name in enumerate(names)]
    table.write_text("\n".join(map(json.dumps, lines)))
    assert captions(table) == {"./a.jpg": ("0", "1", "2", "3")}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('a.jpg\t"one\ntwo"\n', {"a.jpg": ("one\ntwo",)}),
        ('a.jpg\t"one\ttwo"\nb.jpg\tx\n', {"a.jpg": ("one\ttwo",), "b.jpg": ("x",)}),
        ('a.jpg\t"one\nb.jpg\ttwo"\n', {"a.jpg": ('"one',), "b.jpg": ('two"',)}),
    ],
)
def test_a_tsv_with_a_field_over_lines_or_tabs(tmp_path: Path, text: str, found: object) -> None:
    table = tmp_path / "t.tsv"
    table.write_text("image\tcaption\n" + text)
    assert captions(table) == found


def test_times_in_nanoseconds_are_kept(tmp_path: Path) -> None:
    times = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))
    content = {"image": ["a.jpg"], "caption": ["x"], "taken": times}
    content |= {"took": pa.array([1_001], pa.duration("ns")), "at": pa.array([7], pa.time64("ns"))}
    pq.write_table(pa.table(content), tmp_path / "t.parquet")
    (picture,) = read(tmp_path / "t.parquet").splits[""]
    assert picture.extra == {
        "taken": "2023-11-14 22:13:20.123456789",
        "took": 1_001,
        "at": "00:00:00.000000007",
    }


def test_columns_of_binary_data_are_left_out_by_name(tmp_path: Path, capsys) -> None:
    content = {
        "image": ["a.jpg"],
        "caption": ["x"],
        "jpg": [b"\xff" * 10_000],
        "both": [{"bytes": b"x", "path": "p"}],
        "many": [[b"x"]],
        "n": [{"x": 1}],
    }
    pq.write_table(pa.table(content), tmp_path / "t.parquet")
    (picture,) = read(tmp_path / "t.parquet").splits[""]
    assert picture.extra == {"n": {"x": 1}}
    assert "columns of binary data are left out: jpg, both, many" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["caption", "split"])
@pytest.mark.parametrize("column", ["jpg", "both"])
def test_a_column_of_binary_data_that_is_named_is_refused_shortly(
    tmp_path: Path, option: str, column: str
) -> None:
    content = {
        "image": ["a.jpg"],
        "caption": ["x"],
        "jpg": [b"\xff" * 10_000],
        "both": [{"bytes": b"\xff" * 10_000, "path": "p"}],
    }
    pq.write_table(pa.table(content), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=f"row 1: column '{column}' holds") as raised:
        read(tmp_path / "t.parquet", **{option: column})
    assert len(str(raised.value).removeprefix(str(tmp_path))) < 200
