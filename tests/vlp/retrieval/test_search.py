"""`vlp search` as users and pipes meet it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.vlp.huggingface_folders import build_folder
from vlp import __main__ as command_line
from vlp.retrieval import result_table
from vlp.retrieval.query import Found, Hit, Query
from vlp.retrieval.results import Results, as_json, percentile_text
from vlp.retrieval.retriever import Retriever


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return build_folder(tmp_path_factory.mktemp("model") / "tiny-clip", "clip")


@pytest.fixture(scope="module")
def index(tmp_path_factory, checkpoint):
    """Six pictures: of three the files are there, of one a damaged file, of two none."""
    folder = tmp_path_factory.mktemp("search")
    paths = [folder / f"picture {number}.png" for number in range(6)]
    for number, path in enumerate(paths):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    captions = ["a dog", "a cat\nin two lines", "\x1b[31mred", "<b>bold</b>", None, "x" * 300]
    rows = [
        {"caption": text, "split": "val" if n % 2 else "test"} for n, text in enumerate(captions)
    ]
    Retriever.from_checkpoint(checkpoint, folder / "index").add(paths, rows)
    paths[3].write_bytes(b"damaged")
    paths[4].unlink()
    paths[5].unlink()
    return folder / "index"


@pytest.fixture
def vlp(monkeypatch, capsys):
    """Run `vlp search`: (status, what it printed, what it said of errors)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["vlp", "search", *map(str, arguments)])
        try:
            status = command_line.main()
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


def test_the_table(vlp, index):
    status, out, err = vlp(index, "a dog", "-k", 3, "--offset", 1)
    lines = out.splitlines()
    assert status == 0
    assert lines[0] == f"pictures in {index.parent}/"
    assert lines[1].split() == ["rank", "percentile", "cosine", "id", "picture", "caption"]
    assert [line.split()[0] for line in lines[2:5]] == ["2", "3", "4"]
    assert "generic queries" in lines[6]
    assert lines[7] == "6 pictures searched; --offset 4 shows more"
    assert "\x1b" not in out
    hits = Retriever.load(index).search("a dog", k=3, offset=1).hits
    for line, hit in zip(lines[2:5], hits, strict=True):
        assert f"{hit.cosine:.3f}  {hit.id:>2}" in line
        assert percentile_text(hit.percentile) in line
        assert ("(missing)" in line) == (hit.id in (4, 5))
    assert "`vlp index refresh" in err


def test_json_paths_and_a_file_hold_the_same(vlp, index, tmp_path):
    hits = Retriever.load(index).search(Query(texts=["a dog"], without=["a cat"])).hits
    status, out, _ = vlp(index, "a dog", "--not", "a cat", "--format", "json")
    told = json.loads(out)
    assert (status, told["searched"], told["more"], told["notes"]) == (0, 6, False, [])
    for rank, (one, hit) in enumerate(zip(told["hits"], hits, strict=True), 1):
        assert (one["rank"], one["id"], one["percentile"]) == (rank, hit.id, hit.percentile)
        assert (one["cosine"], one["score"]) == (hit.cosine, hit.score)
        assert one["metadata"] == hit.metadata
        assert one["missing"] == (hit.id in (4, 5))
    paths = "".join(f"{hit.metadata['image_path']}\n" for hit in hits)
    assert vlp(index, "a dog", "--not", "a cat", "--format", "paths")[:2] == (0, paths)
    output = tmp_path / "found.txt"
    status, out, _ = vlp(index, "a dog", "--not", "a cat", "--format", "paths", "--output", output)
    assert (status, out) == (0, f"6 hits: {output}\n")
    assert output.read_text() == paths


def test_all_parts_of_a_query(vlp, index):
    picture = index.parent / "picture 0.png"
    arguments = ["a dog", "a cat", "--image", picture, "--like", 1, "--like", 2, "--not", "x"]
    arguments += ["--not", "y", "--weights", "1,2,3,4,0.5", "--where", 'split = "val"', "-k", 2]
    arguments += ["--hubness", "--group", "--threshold", -1, "--least-percentile", 0]
    status, out, err = vlp(index, *arguments, "--format", "json")
    assert status == 0, err
    query = Query(
        texts=["a dog", "a cat"],
        images=[picture],
        like=[1, 2],
        without=["x", "y"],
        weights=[1, 2, 3, 4, 0.5],
        where="split = 'val'",
        k=2,
        hubness=True,
        group=True,
        threshold=-1,
        least_percentile=0,
    )
    hits = Retriever.load(index).search(query).hits
    assert [one["score"] for one in json.loads(out)["hits"]] == [hit.score for hit in hits]
    assert {one["metadata"]["split"] for one in json.loads(out)["hits"]} == {"val"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["INDEX", "a dog", "a cat", "--not", "x", "--hubness", "--threshold", "-1"],
        ["INDEX", "--not", "x", "--threshold", "-1", "--hubness", "a dog", "a cat"],
        ["--not=x", "--hubness", "INDEX", "a dog", "--threshold", "-1", "a cat"],
        ["--hubness", "--threshold", "-1", "INDEX", "--not", "x", "--", "a dog", "a cat"],
    ],
)
def test_options_stand_anywhere(vlp, index, arguments):
    arguments = [index if argument == "INDEX" else argument for argument in arguments]
    status, out, err = vlp("--format", "json", *arguments)
    assert status == 0, err
    query = Query(texts=["a dog", "a cat"], without=["x"], hubness=True, threshold=-1)
    hits = Retriever.load(index).search(query).hits
    assert [one["score"] for one in json.loads(out)["hits"]] == [hit.score for hit in hits]


def test_the_page_holds_pictures_and_names_those_that_are_gone(vlp, index, tmp_path):
    output = tmp_path / "page.html"
    status, _, err = vlp(index, "<i>a dog</i>", "--format", "html", "--output", output)
    page = output.read_text()
    assert status == 0
    assert page.count("data:image/jpeg;base64,") == 3
    assert page.count(">no picture<") == 3
    assert "<i>a dog" not in page
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold" in page
    for number in (3, 4, 5):
        assert f"picture {number}.png" in err


def test_the_page_shows_the_picture_that_was_asked_for(vlp, index):
    status, out, _ = vlp(index, "--image", index.parent / "picture 1.png", "--format", "html")
    assert (status, out.count("data:image/jpeg;base64,")) == (0, 4)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "the query is empty"),
        ([""], "empty text"),
        (["--not", "a dog"], "the query is empty"),
        (["a dog", "--where", "splt = 'val'"], "no column 'splt'"),
        (["a dog", "--weights", "1,2"], "2 weights for 1"),
        (["a dog", "--weights", "heavy"], "--weights heavy: expected numbers"),
        (["a dog", "-k", "0"], "k must be 1 or more"),
        (["--like", "99"], "id 99 is not in the index"),
        (["--like", "first"], "--like first: expected numbers"),
        (["--image", "gone.jpg"], "gone.jpg) cannot be read"),
        (["--image", "picture 3.png"], "picture 3.png) is not readable"),
        (["a dog", "--model", "gone"], "gone"),
        (["a dog", "--device", "tpu"], "device 'tpu'"),
        (["a dog", "--format", "xml"], "xml"),
        (["a dog", "--image"], "--image: expected one argument"),
        (["--fast", "a dog"], "unrecognized arguments: --fast"),
        (["--thresh", "0", "a dog"], "unrecognized arguments: --thresh"),
        (["--like", "9" * 30], "is no id"),
    ],
)
def test_misuse_is_told_in_a_line(vlp, index, monkeypatch, arguments, told):
    monkeypatch.chdir(index.parent)
    status, out, err = vlp(index, *arguments)
    error = [line for line in err.splitlines() if "missing since" not in line]
    assert (status in (1, 2), out, len(error)) == (True, "", 1), err
    assert error[0].startswith("error: ")
    assert told in error[0]


def test_another_model_is_refused_by_both_names(vlp, index, tmp_path):
    other = build_folder(tmp_path / "other", "siglip")
    status, _, err = vlp(index, "a dog", "--model", other)
    assert status == 2
    assert "tiny-clip" in err
    assert str(other) in err
    assert err.count("fingerprint") == 2


def test_folders_that_are_no_index(vlp, index, tmp_path):
    assert "is no index" in vlp(tmp_path, "a dog")[2]
    assert f"but {index} is one" in vlp(index.parent, "a dog")[2]
    (tmp_path / "img_emb").mkdir()
    assert f"`vlp index {tmp_path}` makes" in vlp(tmp_path, "a dog")[2]


def test_nothing_found_says_why(vlp, index, checkpoint, tmp_path):
    Retriever.from_checkpoint(checkpoint, tmp_path / "empty")
    assert vlp(tmp_path / "empty", "a dog") == (0, "", f"{tmp_path / 'empty'} is empty\n")
    assert "fulfils the condition split = 'x'" in vlp(index, "a dog", "--where", "split = 'x'")[2]
    none = "of 6 pictures there is none"
    assert f"{none} that passes the thresholds" in vlp(index, "a dog", "--threshold", "1")[2]
    assert f"{none} after the first 6\n" in vlp(index, "a dog", "--offset", "6")[2]


def test_a_page_is_not_printed_on_a_terminal(vlp, index, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "--output" in vlp(index, "a dog", "--format", "html")[2]


def test_a_query_by_id_needs_no_model_and_a_reader_that_leaves_is_no_error(index):
    script = (
        "import sys; from vlp.__main__ import main; "
        f"sys.argv = ['vlp', 'search', {str(index)!r}, '--like', '0', '--format', 'json']; "
        "status = main(); heavy = {'open_clip', 'transformers', 'timm'} & set(sys.modules); "
        "print('heavy:', heavy, file=sys.stderr); sys.exit(status)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        told = process.stderr.read()
    assert process.returncode == 0
    assert told.splitlines()[-1] == "heavy: set()"
    assert "rror" not in told


def shown(metadata, width=None, **fields):
    hits = [
        Hit(id=n, cosine=0.5, percentile=None, score=0.5, metadata=one, **fields)
        for n, one in enumerate(metadata)
    ]
    found = Found(hits=hits, searched=5, more=False, vector=np.ones(2, np.float32))
    given = Results(
        index=Path("i"), query=Query(texts=["x"]), found=found, rows=5, missing=frozenset()
    )
    return given, result_table.table(given, width)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_terminal(width):
    long = {"image_path": f"/{'folder/' * 30}picture.jpg", "caption": "a dog and a cat " * 20}
    wide = {"image_path": "/日本/写真.jpg", "caption": "犬と猫" * 50}
    _, out = shown([long, wide, {"image_path": None, "caption": None}], width, duplicates=(7, 8))
    lines = out.splitlines()[:4]
    for line in lines:
        assert len(line) + sum(sign > "\u2e80" for sign in line) <= width
    assert ".jpg +2 alike" in lines[1]
    assert len({line[: line.index("a dog")] for line in lines if "a dog" in line}) == 1


def test_tables_of_less():
    assert "picture" not in shown([{"caption": "a dog"}, {}])[1].splitlines()[0]
    assert "caption" not in shown([{"image_path": "/a/b"}, {}])[1]
    assert shown([{}, {"n": 5}])[1].splitlines()[1].split() == ["1", "-", "0.500", "0"]
    assert shown([])[1] == ""


def test_what_json_does_not_know():
    import datetime

    metadata = {
        "score": float("nan"),
        "when": datetime.datetime(2024, 1, 2, 3, 4),
        "raw": b"\xff",
        "list": [1.5, float("inf"), "é"],
    }
    (hit,) = json.loads(as_json(shown([metadata])[0]))["hits"]
    assert hit["metadata"] == {
        "score": None,
        "when": "2024-01-02T03:04:00",
        "raw": "b'\\xff'",
        "list": [1.5, None, "é"],
    }


@pytest.mark.parametrize(
    ("percentile", "text"),
    [(None, "-"), (100.0, "99.9+"), (99.96, "99.9"), (99.7, "99.7"), (0.0, "0.0"), (5.04, "5.0")],
)
def test_percentiles_in_text(percentile, text):
    assert percentile_text(percentile) == text
