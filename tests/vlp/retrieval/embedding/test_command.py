"""`vlp embed` as it is typed: what it prints and its exit status."""

import os
import sys

import pytest

from tests.vlp.retrieval.embedding.pictures_made import folder_of, json_lines
from vlp.__main__ import main
from vlp.retrieval.embedding.reader import read_embeddings


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command; (exit status, output, errors)"""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["vlp", "embed", *map(str, arguments)])
        try:
            status = main()
        except SystemExit as stopped:
            status = stopped.code
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


@pytest.fixture
def data(tmp_path):
    return folder_of(tmp_path / "data", [f"{n}.png" for n in range(4)])


def test_good_and_bad_pictures(run, model_folder, data, tmp_path):
    (data / "1.txt").write_text("a dog " * 20)
    (data / "copy.png").write_bytes((data / "0.png").read_bytes())
    (data / "x\n\x1b[31m.png").write_text("<html>")
    (data / "y.png").write_text("<html> ")
    status, out, _ = run(model_folder, data, "--output", tmp_path / "out", "--workers", 1)
    assert status == 0
    assert f"data: folder {data}, 7 pictures, 1 with a caption" in out
    assert "copies: 1 picture has the bytes of another and is noted with it" in out
    assert f"{tmp_path}/out: 4 pictures and 1 caption in 1 partition" in out
    assert "1 caption cut at the length that the model reads" in out
    assert f"not embedded: 2, listed in {tmp_path}/out/report.jsonl" in out
    assert f"2 x UnidentifiedImageError: cannot identify image file, e.g. {data}/x\\n\\x1b" in out
    assert "\x1b" not in out
    status, out, _ = run(model_folder, data, "--output", tmp_path / "out")
    assert status == 0
    assert "all of it done before" in out


def test_table_with_its_options(run, model_folder, data, tmp_path):
    rows = [{"src": f"{n}.png", "alt": f"picture {n}", "n": n} for n in range(4)]
    table = json_lines(tmp_path / "t.jsonl", rows)
    named = ("--image-column", "src", "--caption-column", "alt", "--images", data)
    status, out, _ = run(model_folder, table, "--output", tmp_path / "out", *named, "--no-texts")
    assert status == 0
    assert "4 pictures and 0 captions" in out
    found = read_embeddings(tmp_path / "out")
    assert found.options.images == str(data)
    _, own = next(found.partitions())
    assert own["n"].to_pylist() == [0, 1, 2, 3]
    assert own["caption"].to_pylist() == [f"picture {n}" for n in range(4)]
    assert not (tmp_path / "out/text_emb").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("MODEL", "none", "--output", "OUT"), "none: no such file or folder"),
        (("MODEL", "EMPTY", "--output", "OUT"), "no pictures in it"),
        (("none", "DATA", "--output", "OUT"), "none"),
        (("MODEL", "DATA", "--output", "FILE"), "FILE is a file"),
        (("MODEL", "DATA", "--output", "FILE/x"), "FILE is a file"),
        (("MODEL", "DATA", "--output", "DATA"), "is not empty and has no embed.json"),
        (("MODEL", "DATA", "--output", "OUT", "--partition", "0"), "--partition 0"),
        (("MODEL", "DATA", "--output", "OUT", "--batch-size", "0"), "--batch-size 0"),
        (("MODEL", "DATA", "--output", "OUT", "--workers", "0"), "--workers 0"),
        (("MODEL", "DATA", "--output", "OUT", "--device", "abacus"), "device 'abacus'"),
        (("MODEL", "DATA", "--output", "OUT", "--precision", "fp4"), "fp4"),
        (("MODEL", "DATA", "--output", "OUT", "--images", "x"), "--images"),
        (("MODEL", "DATA"), "output"),
    ],
)
def test_misuse_ends_with_2_and_leaves_nothing(
    run, model_folder, data, tmp_path, monkeypatch, arguments, told
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FILE").touch()
    before = sorted(os.listdir(data))
    places = {"MODEL": model_folder, "DATA": "data"}
    status, _, errors = run(*(places.get(argument, argument) for argument in arguments))
    assert status == 2
    assert told in errors.replace(f"{tmp_path}/", "")
    assert "Traceback" not in errors
    assert sorted(os.listdir(tmp_path)) == ["EMPTY", "FILE", "data"]
    assert sorted(os.listdir(data)) == before


def test_no_good_picture_ends_with_1(run, model_folder, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.png").write_text("x")
    status, _, errors = run(model_folder, tmp_path / "data", "--output", tmp_path / "out")
    assert status == 1
    assert "not one of 1 pictures could be embedded" in errors
