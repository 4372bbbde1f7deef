"""Captions of evaluation sets: every form that may hold them, and what is said of the others."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.eval_captions import evaluation_captions, fingerprint, normalised
from tests.data_tools.trees import samples
from vlp.errors import InputError


def read(*places):
    return dict(evaluation_captions(tuple(map(str, places)), "--captions"))


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("b.txt", "one\nTwo DOGS, run!\n"),
        ("b.csv", "id,caption\n7,one\n8,The two dogs run.\n"),
        ("b.tsv", "id\tTitle\n7\tone\n8\ttwo dogs run\n"),
        ("b.jsonl", '{"id": "x", "captions": ["one", "two dogs run"]}\n'),
        ("b.json", '["one", "two dogs run"]'),
        ("b.json", '[{"image_url": "u", "text": "one"}, {"text": "two dogs run", "number": 2}]'),
        ("b.json", '{"0": {"filename": "7.jpg", "caption": "one", "negative_caption": '
                   '"two dogs run"}}'),
        ("b.json", '{"images": [{"sentences": [{"tokens": ["one", "two"], "raw": "one"}, '
                   '{"tokens": [], "raw": "two dogs run"}]}]}'),
        ("b.json", '{"info": {}, "annotations": [{"id": 1, "caption": "one"}, '
                   '{"id": 2, "caption": "two dogs run"}]}'),
        ("b.json", '\ufeff[{"caption_0": "one", "caption_1": "two dogs run"}]'),
    ],
)  # fmt: skip
def test_forms(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = read(tmp_path / name)
    assert list(found) == ["one", "two dogs run"]
    assert all(where.startswith(str(tmp_path / name)) for where in found.values())
    assert read(tmp_path) == found


def test_tables_of_parquet_and_the_place_of_each(tmp_path):
    table = {"picture": [b"1", b"2"], "text": ["one", "two"], "n": [1, 2], "captions": [[], ["x"]]}
    pq.write_table(pa.table(table), tmp_path / "b.parquet")
    places = {"one": 1, "two": 2, "x": 2}
    assert read(tmp_path) == {
        text: f"{tmp_path / 'b.parquet'}, row {row}" for text, row in places.items()
    }


def test_folders_stand_for_their_tars_or_else_for_their_files(tmp_path):
    record = json.dumps({"captions": ["one", "two"], "width": 3})
    write_tar(tmp_path / "a" / "below" / "00000.tar", {"k.txt": "one", "k.json": record})
    (tmp_path / "a" / "sizes.json").write_text('{"00000.tar": 1}')
    where = f"{tmp_path / 'a' / 'below' / '00000.tar'}:k"
    assert samples(tmp_path / "a" / "below" / "00000.tar").keys() == {"k"}
    assert read(tmp_path / "a") == {"one": where, "two": where}
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.txt").write_text("Two\nthree\n")
    both = read(tmp_path / "a", tmp_path / "b")
    assert both == {"one": where, "two": where, "three": f"{tmp_path / 'b' / 'x.txt'}, line 2"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("b.csv", "id,label\n7,dog\n", "the fields there are id, label; expected .*caption, text"),
        ("b.json", '{"0": {"file": "a"}}', "the fields there are 0, file"),
        ("b.json", "{", "b.json: Expecting"),
        ("b.json", "[" * 100_000, "b.json"),
        ("b.txt", "\n !\n", "no caption found; expected lines"),
        ("b.jsonl", '{"text": "x"}\n{\n', "b.jsonl, line 2: not JSON"),
        ("b.pdf", "x", "no caption found; expected .tar, .txt, .json, .csv"),
        ("b.tar", "x", "b.tar"),
    ],
)
def test_what_holds_no_captions_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"^--captions .*{message}"):
        read(tmp_path / name)
    with pytest.raises(InputError, match="none: no such file or folder"):
        read(tmp_path / "none")


def test_the_same_words():
    assert normalised("The  MAN\u2019s \uff34-shirt, a red one!") == "man s t shirt red one"
    assert normalised("?!") == normalised("a") == ""


@given(st.text(), st.sampled_from([" ", "\t", ", ", " the ", "\n"]))
def test_it_is_normalised_once(text, between):
    assert normalised(normalised(text)) == normalised(text)
    words = normalised(text).split()
    assert normalised(between.join(words).upper().lower()) == normalised(" ".join(words).upper())


def test_the_fingerprint_is_of_the_captions_and_not_of_their_order():
    assert fingerprint(["a b", "c"]) == fingerprint(["c", "a b"]) != fingerprint(["a", "b c"])
