"""`build`: what a shard holds, the same bytes from any number of workers, exact resumption."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_tools.build import Build, build
from data_tools.building.collection import Collection, Picture
from data_tools.building.writing import Writing, write_collection
from data_tools.destination import LocalFolder
from data_tools.engine import Options
from tests.data_tools.conftest import jpeg
from tests.data_tools.trees import fields, files, leave_half_written, rows, samples
from vlp.data.index import ShardIndex, build_index, caption_sha256, sidecar_path
from vlp.errors import InputError, RunError

ROOT = Path(__file__).parents[2]


def test_shards_hold_the_contract(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(Build(input=photos, output=out, samples_per_shard=3, workers=1))
    found = samples(out / "00001.tar")
    assert list(found) == ["000010000", "000010001", "000010002"]
    assert list(found["000010000"]) == ["jpg", "json", "txt"]
    assert found["000010000"]["jpg"] == jpeg(3)
    assert found["000010000"]["txt"] == b"caption 3a"
    told = fields(found["000010000"])
    assert told["captions"] == ["caption 3a", "caption 3b"]
    assert told["url"] == "photos/3.jpg"
    assert told["key"] == "000010000"
    assert told["status"] == "success"
    assert told["sha256"] == hashlib.sha256(jpeg(3)).hexdigest()
    assert (told["width"], told["height"]) == (24, 16)
    assert told["split"] == "train"
    sizes = json.loads((out / "sizes.json").read_text())
    assert sizes == {"00000.tar": 3, "00001.tar": 3, "00002.tar": 1}
    manifest = json.loads((out / "manifest.json").read_text())
    shard = (out / "00001.tar").read_bytes()
    assert manifest["complete"] is True
    assert manifest["shards"]["00001.tar"] == {
        "sha256": hashlib.sha256(shard).hexdigest(),
        "bytes": len(shard),
        "count": 3,
    }
    assert pq.read_table(sidecar_path(out / "00001.tar", "index")) == build_index(out / "00001.tar")
    index = ShardIndex.read(str(out / "00001.tar"))
    member = index.members(1)["jpg"]
    assert shard[member.offset : member.offset + member.size] == jpeg(4)
    assert index.src_sha256(0) == caption_sha256(b"caption 3a")


def test_a_split_column_makes_a_folder_for_each_value(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(Build(input=photos, output=out, split_column="split", workers=1))
    assert len(samples(out / "train" / "00000.tar")) == 6
    assert len(samples(out / "test" / "00000.tar")) == 1


def test_an_empty_split_value_is_unassigned(photos: Path, tmp_path: Path) -> None:
    photos.write_text("image\tcaption\tsplit\nphotos/0.jpg\tone\t\n")
    build(Build(input=photos, output=tmp_path / "out", split_column="split", workers=1))
    assert len(samples(tmp_path / "out" / "unassigned" / "00000.tar")) == 1


def test_failures_leave_gaps_and_rows(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "photos" / "1.jpg").unlink()
    (tmp_path / "photos" / "2.jpg").write_bytes(jpeg(2)[:300])
    with photos.open("a") as file:
        file.write("photos/0.jpg\t \ttrain\nphotos/extra.jpg\t\ttrain\n")
    (tmp_path / "photos" / "extra.jpg").write_bytes(jpeg(9))
    out = tmp_path / "out"
    build(Build(input=photos, output=out, workers=1))
    assert [key[-1] for key in samples(out / "00000.tar")] == ["0", "3", "4", "5", "6"]
    table = rows(out / "00000.tar")
    assert [row["status"] for row in table] == [
        "success",
        "failed_to_read",
        "failed_to_decode",
        *["success"] * 4,
        "empty_caption",
    ]
    assert "No such file" in table[1]["error_message"]
    assert table[0]["dropped_captions"] == 1
    stats = json.loads((out / "00000_stats.json").read_text())
    assert stats["count"] == 8
    assert stats["successes"] == 5
    assert sum(stats["status_dict"].values()) == 8


def test_inputs_and_outputs_balance_in_what_is_printed(photos, tmp_path, command) -> None:
    (tmp_path / "photos" / "1.jpg").unlink()
    code, out, err = command(
        "build", "--input", photos, "--output", tmp_path / "out", "--workers", 1
    )
    assert code == 0
    assert "7 inputs = 6 written + 1 failed_to_read" in out
    assert "failed_to_read: photos/1.jpg: No such file or directory" in err


@pytest.mark.parametrize("workers", [2, 3])
def test_bytes_do_not_depend_on_workers(photos: Path, tmp_path: Path, workers: int) -> None:
    for name, count in (("one", 1), ("many", workers)):
        build(Build(input=photos, output=tmp_path / name, samples_per_shard=2, workers=count))
    assert files(tmp_path / "one") == files(tmp_path / "many")


def test_a_finished_build_is_left_alone(photos, tmp_path, command) -> None:
    arguments = ("build", "--input", photos, "--output", tmp_path / "out", "--workers", 1)
    command(*arguments)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tar")}
    code, out, _ = command(*arguments)
    assert code == 0
    assert "1 of 1 shards are finished already" in out
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize(
    "damage", ["00001_stats.json", "00001.tar", "00001.parquet", "annotations/index/00001.parquet"]
)
def test_what_is_missing_or_cut_is_made_again(photos, tmp_path, damage) -> None:
    out = tmp_path / "out"
    options = Build(input=photos, output=out, samples_per_shard=2, workers=1)
    build(options)
    whole = files(out)
    victim = out / damage
    if victim.suffix == ".tar":
        victim.write_bytes(victim.read_bytes()[:-512])
    else:
        victim.unlink()
    leave_half_written(out / "00001.tar")
    build(options)
    assert files(out) == whole


def test_a_build_killed_at_any_moment_is_completed_to_the_same_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(120):
        (folder / f"{number:03}.jpg").write_bytes(jpeg(number, (200, 160)))
        (folder / f"{number:03}.txt").write_text(f"caption {number}\n")
    build(Build(input=folder, output=tmp_path / "whole", samples_per_shard=5, workers=1))
    arguments = ["--input", str(folder), "--output", str(tmp_path / "out")]
    line = [sys.executable, "-m", "data_tools", "build", *arguments, "--samples-per-shard", "5"]
    for shards in (1, 6, 13):
        process = subprocess.Popen([*line, "--workers", "2"], cwd=ROOT, stdout=subprocess.PIPE)
        while len(list((tmp_path / "out").glob("*_stats.json"))) < shards:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    build(Build(input=folder, output=tmp_path / "out", samples_per_shard=5, workers=1))
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_other_settings_are_refused_by_name(photos, tmp_path, command) -> None:
    arguments = ("build", "--input", photos, "--output", tmp_path / "out", "--workers", 1)
    command(*arguments)
    code, _, err = command(*arguments, "--image-size", 8)
    assert code == 2
    assert "image_size was None, is 8" in err
    assert "--restart" in err
    assert command(*arguments, "--image-size", 8, "--restart")[0] == 0
    assert fields(samples(tmp_path / "out" / "00000.tar")["000000000"])["height"] == 8


def test_a_changed_input_is_refused(photos, tmp_path, command) -> None:
    arguments = ("build", "--input", photos, "--output", tmp_path / "out", "--workers", 1)
    command(*arguments)
    photos.write_text(photos.read_text().replace("caption 3a", "another"))
    code, _, err = command(*arguments)
    assert code == 2
    assert "the input has changed (first in 00000.tar)" in err


def test_restart_removes_only_what_the_tool_wrote(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(Build(input=photos, output=out, samples_per_shard=1, workers=1))
    own = out / "notes.md"
    own.write_text("mine")
    rewrites = sidecar_path(out / "00000.tar", "rewrites")
    rewrites.parent.mkdir()
    rewrites.write_bytes(b"mine")
    build(Build(input=photos, output=out, samples_per_shard=9, workers=1, restart=True))
    assert len(list(out.glob("*.tar"))) == 1
    assert own.read_text() == "mine"
    assert rewrites.read_bytes() == b"mine"


def test_a_folder_of_other_files_is_never_written_to(photos, tmp_path, command) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "00000.tar").write_bytes(b"somebody's")
    for restart in ((), ("--restart",)):
        code, _, err = command("build", "--input", photos, "--output", tmp_path / "out", *restart)
        assert code == 2
        assert "00000.tar" in err
    assert files(tmp_path / "out") == {"00000.tar": b"somebody's"}


def test_a_split_that_is_gone_is_refused(photos: Path, tmp_path: Path) -> None:
    options = {"input": photos, "output": tmp_path / "out", "workers": 1}
    build(Build(**options, split_column="split"))
    with pytest.raises(InputError, match="out/test"):
        build(Build(**options))
    build(Build(**options, restart=True))
    assert not (tmp_path / "out" / "test" / "00000.tar").exists()


def test_two_builds_do_not_write_to_one_folder(photos: Path, tmp_path: Path) -> None:
    with (
        LocalFolder(tmp_path / "out").held("1/1"),
        pytest.raises(InputError, match="another run"),
    ):
        build(Build(input=photos, output=tmp_path / "out", workers=1))


def test_a_full_disk_is_an_error_and_the_build_goes_on_later(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, side in enumerate((20, 20, 400)):
        (folder / f"{number}.jpg").write_bytes(jpeg(number, (side, side)))
        (folder / f"{number}.txt").write_text("a photo")
    arguments = ["--input", str(folder), "--output", str(tmp_path / "out"), "--workers", "1"]
    line = [sys.executable, "-m", "data_tools", "build", *arguments, "--samples-per-shard", "1"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        result = subprocess.run(
            line,
            cwd=ROOT,
            capture_output=True,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)),
        )
    assert result.returncode == 1
    assert "00002.tar: File too large" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "out").glob(".*"))
    build(Build(input=folder, output=tmp_path / "out", samples_per_shard=1, workers=1))
    assert len(list((tmp_path / "out").glob("*.tar"))) == 3


@dataclass(frozen=True)
class FatalReader:
    """Ends its process at the third picture, as often as there are files in a folder."""

    lives: Path

    def read(self, picture: Picture) -> bytes:
        if picture.source == "2":
            for life in sorted(self.lives.iterdir()):
                life.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return jpeg(int(picture.source))

    def size(self, picture: Picture) -> int:
        return 1


@pytest.mark.parametrize(("kills", "is_lost"), [(1, False), (3, True)])
def test_a_killed_worker_costs_at_most_its_shard(tmp_path, capsys, kills, is_lost) -> None:
    (tmp_path / "lives").mkdir()
    for life in range(kills):
        (tmp_path / "lives" / str(life)).touch()
    pictures = [Picture(source=str(number), captions=("one",)) for number in range(4)]
    collection = Collection(kind="", splits={"": pictures}, reader=FatalReader(tmp_path / "lives"))
    run, out = Options(workers=2, executor="process"), str(tmp_path / "out")
    writing = Writing(output=out, settings={}, run=run, samples_per_shard=1)
    if is_lost:
        with pytest.raises(RunError, match="1 of 4 failed"):
            write_collection(collection, writing)
        printed = capsys.readouterr()
        assert "4 inputs = 3 written + 1 in shards still to come" in printed.out
        assert "00002.tar: its worker was killed 3 times" in printed.err
    write_collection(collection, writing)
    assert len(list((tmp_path / "out").glob("*_stats.json"))) == 4
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["complete"]


def test_nothing_written_is_a_failure(photos: Path, tmp_path: Path) -> None:
    photos.write_text("image\tcaption\nnowhere.jpg\tone\n")
    with pytest.raises(RunError, match="not one picture"):
        build(Build(input=photos, output=tmp_path / "out", workers=1))


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # it leaves files open
def test_webdataset_reads_every_sample(photos: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    build(Build(input=photos, output=tmp_path / "out", workers=1))
    dataset = webdataset.WebDataset(
        str(tmp_path / "out" / "00000.tar"), shardshuffle=False, empty_check=False
    )
    found = list(dataset)
    assert [sample["__key__"][-1] for sample in found] == list("0123456")
    assert all({"jpg", "json", "txt"} <= set(sample) for sample in found)
