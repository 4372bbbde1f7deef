"""What a build must survive: inputs that are no files, outputs that are inputs, odd names."""

import hashlib
import json
import os
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_tools.build import Build, build
from data_tools.building.collection import split_name
from data_tools.destination import OWN_FILE, LocalFolder
from tests.data_tools.conftest import jpeg
from tests.data_tools.test_archives import make_tar
from tests.data_tools.trees import files, rows
from vlp.errors import InputError


def serial(**options: object) -> None:
    build(Build(executor="serial", **options))


@pytest.fixture
def built(photos: Path, tmp_path: Path) -> Path:
    """A finished data folder of the photos, in the split `train` of `data`."""
    out = tmp_path / "data" / "train"
    serial(input=photos, output=out, samples_per_shard=3)
    return out


def test_pipes_devices_and_endless_files_are_failed_rows(photos: Path, tmp_path: Path) -> None:
    folder = photos.parent / "photos"
    for number in (0, 1, 2):
        (folder / f"{number}.jpg").unlink()
    os.mkfifo(folder / "0.jpg")
    (folder / "1.jpg").symlink_to("/dev/zero")
    with open(folder / "2.jpg", "wb") as file:
        file.truncate(40 << 30)  # sparse: no blocks are taken
    serial(input=photos, output=tmp_path / "out")
    found = {row["url"]: row["error_message"] for row in rows(tmp_path / "out" / "00000.tar")[:4]}
    assert found == {
        "photos/0.jpg": "a pipe, socket or device, but only files are read",
        "photos/1.jpg": "a pipe, socket or device, but only files are read",
        "photos/2.jpg": "42,949,672,960 bytes are more than the limit of 1,073,741,824",
        "photos/3.jpg": "",
    }


def test_a_caption_that_is_a_pipe(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.jpg").write_bytes(jpeg(1))
    os.mkfifo(folder / "a.txt")
    (folder / "b.txt").write_text("b")
    serial(input=folder, output=tmp_path / "out")
    first, second = rows(tmp_path / "out" / "00000.tar")
    assert (first["status"], second["status"]) == ("bad_caption", "success")
    assert "a.txt: a pipe" in first["error_message"]


@pytest.mark.parametrize(
    ("place", "output"),
    [
        ("data/train", "data/train"),
        ("data/train/*.tar", "data/train"),
        ("data/train", "data"),  # whose split `train` a restart would remove
        ("link/train", "data/train"),
        ("links", "data/train"),
    ],
)
def test_a_restart_does_not_remove_its_own_input(built, tmp_path, place, output) -> None:
    manifest = built / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"split": ""', '"split": "train"'))
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "links").mkdir()
    for tar in built.glob("*.tar"):
        (tmp_path / "links" / f"of-{tar.name}").symlink_to(tar)
    before = files(built)
    with pytest.raises(InputError, match="is input and would be lost"):
        serial(input=tmp_path / place, output=tmp_path / output, restart=True)
    assert files(built) == before


def test_tables_named_as_those_of_shards(built, tmp_path) -> None:
    with pytest.raises(InputError, match=r"00000\.parquet is input"):
        serial(input=built / "00000.parquet", image_column="url", output=built, restart=True)


@pytest.mark.parametrize("output", ["in", "in/out"])
def test_an_output_is_not_read_as_input_next_time(tmp_path, output) -> None:
    (tmp_path / "in").mkdir()
    tar = make_tar(tmp_path / "in" / "a.tar", ("k.jpg", jpeg(1)), ("k.txt", b"one"))
    with pytest.raises(InputError, match="of which every tar is input"):
        serial(input=tmp_path / "in", output=tmp_path / output)
    serial(input=tar, output=tmp_path / output)  # this one alone is


@pytest.mark.parametrize("name", ["v1:b", "~", "pipe:cat"])
def test_relative_folders_that_look_like_urls(photos, tmp_path, monkeypatch, name) -> None:
    monkeypatch.chdir(tmp_path)
    serial(input=photos, output=name)
    serial(input=photos, output="plain")
    assert files(tmp_path / name) == files(tmp_path / "plain")


def test_an_empty_output_is_not_the_current_folder(photos, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="--output: empty"):
        serial(input=photos, output="")


def test_files_that_vanish_while_a_folder_is_listed(tmp_path: Path) -> None:
    done = threading.Event()

    def other_part() -> None:
        while not done.is_set():
            (tmp_path / ".a.tmp").write_bytes(b"x")
            os.replace(tmp_path / ".a.tmp", tmp_path / "a")

    thread = threading.Thread(target=other_part)
    thread.start()
    try:
        for _ in range(500):
            assert set(LocalFolder(tmp_path).files()) <= {".a.tmp", "a"}
    finally:
        done.set()
        thread.join()


def test_more_shards_than_five_digits_name() -> None:
    assert OWN_FILE.fullmatch("99999.tar")
    assert OWN_FILE.fullmatch("annotations/index/100000.parquet")
    assert not OWN_FILE.fullmatch("0000.tar")


@pytest.mark.parametrize("value", ["a\nb", "a\x1b[31m", "\x7f"])
def test_a_split_of_control_characters(value: str) -> None:
    with pytest.raises(InputError, match="cannot name a folder"):
        split_name(value, "split", "t.csv, line 2")


def test_a_split_that_is_no_number_is_unassigned() -> None:
    assert split_name(float("nan"), "split", "t.csv, line 2") == "unassigned"


def test_names_of_inputs_do_not_steer_the_terminal(tmp_path, command) -> None:
    table = tmp_path / "t.jsonl"
    table.write_text('{"image": "\\u001b[2Jx.jpg", "caption": "a"}\n')
    _, _, err = command("build", "--input", table, "--output", tmp_path / "out")
    assert "\\x1b[2Jx.jpg" in err
    assert "\x1b" not in err


def test_options_are_checked_before_the_input_is_read(tmp_path, command) -> None:
    for option in ("--samples-per-shard=0", "--max-pixels=178956971"):
        code, out, err = command("build", "--input", "/none", "--output", tmp_path / "out", option)
        assert (code, out) == (2, "")
        assert option.partition("=")[0] in err


def test_what_grows_beyond_memory_is_a_failed_row(tmp_path: Path) -> None:
    Image.new("RGB", (1, 5000)).save(tmp_path / "line.png")
    Image.new("RGB", (3, 50_000)).save(tmp_path / "line.jpg")
    (tmp_path / "ok.jpg").write_bytes(jpeg(1, (4, 4)))
    table = tmp_path / "t.csv"
    table.write_text("image,caption\nline.png,a\nline.jpg,b\nok.jpg,c\n")
    options = {"input": table, "enlarge": True}
    serial(**options, output=tmp_path / "out", image_size=300)
    found = [(row["status"], row["error_message"][:20]) for row in rows(tmp_path / "out/00000.tar")]
    assert found == [
        ("too_large", "300 x 1500000 pixels"),
        ("too_large", "300 x 5000000 pixels"),
        ("success", ""),
    ]
    serial(**options, output=tmp_path / "other", image_size=4)
    found = [(row["status"], row["error_message"]) for row in rows(tmp_path / "other/00000.tar")]
    message = "4 x 66667 pixels: a side of a JPEG has at most 65500"
    assert found == [("success", ""), ("too_large", message), ("success", "")]


def test_the_hash_of_a_shard_is_that_of_its_file(built: Path) -> None:
    for tar in built.glob("*.tar"):
        mark = json.loads((built / f"{tar.stem}_stats.json").read_bytes())
        assert mark["sha256"] == hashlib.sha256(tar.read_bytes()).hexdigest()
        assert pq.ParquetFile(built / "annotations/index" / f"{tar.stem}.parquet").metadata.num_rows
