"""`vlp index` and its sub-commands on folders that change: what has a row, by content."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.vlp.huggingface_folders import build_folder
from vlp import __main__ as command_line
from vlp.retrieval.retriever import Retriever
from vlp.retrieval.store import Store


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(build_folder(tmp_path_factory.mktemp("model") / "tiny-clip", "clip"))


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    return str(build_folder(tmp_path_factory.mktemp("model") / "tiny-siglip", "siglip"))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(8):
        draw(folder / f"{number}.png", seed=number)
    return folder


@pytest.fixture
def vlp(monkeypatch, capsys):
    """Run a command; (status, what it printed, what it said of errors)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["vlp", *map(str, arguments)])
        try:
            status = command_line.main()
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def index(vlp, photos, checkpoint, tmp_path):
    status, out, _ = vlp("index", photos, "--model", checkpoint, "--output", tmp_path / "index")
    assert status == 0, out
    return tmp_path / "index"


def draw(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def contents(index):
    """{path: sha256} of the rows, with every vector checked against the model's."""
    retriever = Retriever.load(index)
    snapshot = retriever.store.snapshot()
    rows = np.flatnonzero(snapshot.live)
    table = snapshot.table(rows).to_pylist()
    if rows.size:
        paths = [row["image_path"] for row in table]
        there = [place for place, path in enumerate(paths) if os.path.exists(path)]
        expected = retriever.encoder.encode_image([paths[place] for place in there]).numpy()
        assert np.abs(snapshot.vectors(rows[there]) - expected).max(initial=0) < 2e-3  # float16
    return {os.path.basename(row["image_path"]): row["sha256"] for row in table}


def on_disk(folder):
    """The same of the folder's files, one path for each content, the first in order."""
    found = {}
    for path in sorted(folder.iterdir()):
        found.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), path.name)
    return {name: sha256 for sha256, name in found.items()}


def test_a_folder_becomes_an_index(index, photos):
    assert contents(index) == on_disk(photos)


def test_refresh_follows_the_folder(index, photos, vlp):
    before = {row: name for name, row in contents(index).items()}
    draw(photos / "9.png", seed=9)  # new
    draw(photos / "1.png", seed=100)  # changed
    (photos / "2.png").unlink()  # gone
    shutil.copy(photos / "0.png", photos / "copy.png")
    (photos / "bad.png").write_bytes(b"<html>not a picture</html>")
    status, out, _ = vlp("index", "refresh", index)
    assert status == 0
    expected = on_disk(photos)
    del expected["bad.png"]
    assert contents(index) == expected
    assert "2 added (1 had changed), 1 removed, 6 as before" in out
    assert "1 copy" in out
    assert "1 could not be read" in out
    assert "bad.png" in out
    assert before

    status, out, _ = vlp("index", "refresh", index)
    assert "0 added, 8 as before, 2 left out as before" in out
    assert contents(index) == expected


def test_a_copy_takes_the_place_of_what_is_gone(index, photos, vlp):
    shutil.copy(photos / "0.png", photos / "z.png")
    vlp("index", "refresh", index)
    assert "z.png" not in contents(index)
    (photos / "0.png").unlink()
    vlp("index", "refresh", index)
    assert contents(index) == on_disk(photos)
    assert "z.png" in contents(index)


def test_a_picture_that_is_mended_gets_its_row(index, photos, vlp):
    (photos / "late.png").write_bytes(b"half")
    vlp("index", "refresh", index)
    assert "late.png" not in contents(index)
    draw(photos / "late.png", seed=50)
    vlp("index", "refresh", index)
    assert contents(index) == on_disk(photos)


def test_a_picture_that_breaks_loses_its_row(index, photos, vlp):
    (photos / "3.png").write_bytes(b"broken now")
    status, out, _ = vlp("index", "refresh", index)
    assert status == 0
    assert "3.png" in out
    assert set(contents(index)) == {f"{n}.png" for n in range(8)} - {"3.png"}


def test_removed_pictures_stay_away_until_they_change(index, photos, vlp):
    shutil.copy(photos / "4.png", photos / "copy of 4.png")
    vlp("index", "refresh", index)
    status, out, _ = vlp("index", "remove", index, "--ids", "4")
    assert (status, "removed 1 picture: 7 left" in out) == (0, True)
    vlp("index", "refresh", index)
    assert set(contents(index)) == {f"{n}.png" for n in range(8)} - {"4.png"}
    draw(photos / "4.png", seed=400)
    vlp("index", "refresh", index)
    assert "4.png" in contents(index)


def test_remove_by_condition(index, vlp):
    status, out, _ = vlp("index", "remove", index, "--where", "image_path LIKE '%/5.png'")
    assert (status, "removed 1 picture" in out) == (0, True)
    assert "5.png" not in contents(index)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "either --ids or --where"),
        (("--ids", "0", "--where", "width > 1"), "either --ids or --where"),
        (("--ids", "0", "77"), "id 77 is not in the index"),
        (("--ids", "zero"), "zero"),
    ],
)
def test_remove_refuses(index, vlp, options, told):
    before = contents(index)
    status, _, err = vlp("index", "remove", index, *options)
    assert status == 2
    assert told in err
    assert contents(index) == before


def test_a_folder_that_lost_everything_removes_nothing(index, photos, vlp):
    before = contents(index)
    for path in photos.iterdir():
        path.unlink()
    draw(photos / "other.png", seed=77)
    status, _, err = vlp("index", "refresh", index)
    assert status == 2
    assert "all 8 pictures" in err
    photos.rename(photos.with_name("elsewhere"))
    status, _, err = vlp("index", "refresh", index)
    assert status == 2
    assert str(photos) in err
    assert {row[0] for row in before.items()} == set(contents(index))


def test_add_a_second_folder(index, photos, vlp, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    draw(more / "a.png", seed=60)
    shutil.copy(photos / "0.png", more / "copy.png")
    status, out, _ = vlp("index", "add", index, more)
    assert status == 0
    assert "1 added" in out
    assert contents(index) == {**on_disk(photos), "a.png": on_disk(more)["a.png"]}
    (more / "a.png").unlink()
    vlp("index", "refresh", index)  # looks through both; what is left in `more` is a copy
    assert set(contents(index)) == {*on_disk(photos), "a.png"} - {"a.png"}


def test_rows_added_in_python_are_not_refreshed_away(index, vlp, tmp_path):
    draw(tmp_path / "own.png", seed=70)
    Retriever.load(index).add([tmp_path / "own.png"])
    vlp("index", "refresh", index)
    snapshot = Store(index).snapshot()
    paths = snapshot.table(np.flatnonzero(snapshot.live)).column("image_path").to_pylist()
    assert str(tmp_path / "own.png") in paths


def test_misuse_is_told_in_one_line(index, photos, checkpoint, other_model, vlp, tmp_path):
    cases = [
        (("index", photos), "--model"),
        (("index", tmp_path / "nowhere", "--model", checkpoint, "--output", "x"), "nowhere"),
        (("index", index, "--model", checkpoint), "is an index already"),
        (("index", index, "--factory", "Flat"), "factory"),
        (("index", index, "--backend", "annoy"), "annoy"),
        (("index", photos, "--model", other_model, "--output", index), "do not belong together"),
        (("index", "add", photos, photos), "is no index"),
        (("index", "add", index, tmp_path / "nowhere"), "nowhere"),
        (("index", "refresh", tmp_path), "is no index"),
    ]
    before = contents(index)
    for arguments, told in cases:
        status, _, err = vlp(*arguments)
        assert status == 2, arguments
        assert told in err, (arguments, err)
        assert len(err.strip().splitlines()) == 1, err
    assert contents(index) == before


def test_killed_between_two_parts_the_same_command_goes_on(photos, checkpoint, tmp_path):
    """Parts of two pictures each; killed as soon as some of them are there."""
    (photos / "bad.png").write_bytes(b"no picture")
    index = tmp_path / "index"
    program = (
        "import sys; from vlp.retrieval import indexing; indexing._AT_ONCE = 2;"
        "from vlp.__main__ import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", program, "index", photos]
    command += ["--model", checkpoint, "--output", index]
    for reached in (1, 3):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as own:
            while generation(index) < reached and own.poll() is None:
                time.sleep(0.001)
            own.send_signal(signal.SIGKILL)
        assert contents(index).items() <= on_disk(photos).items()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    expected = on_disk(photos)
    del expected["bad.png"]
    assert contents(index) == expected
    assert not [path for path in index.rglob("*") if path.name.endswith(".tmp")]


def generation(index):
    """How many changes an index has seen; 0 without one."""
    try:
        return json.loads((index / "index.json").read_text())["generation"]
    except FileNotFoundError:
        return 0
