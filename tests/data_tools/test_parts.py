"""Runs that share a folder: disjoint parts, held apart, completed by whichever ends last."""

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_tools.build import Build, build
from data_tools.destination import LocalFolder
from tests.data_tools.conftest import jpeg
from tests.data_tools.trees import files
from vlp.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def options(tmp_path: Path) -> dict:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(14):
        (folder / f"{number:02}.jpg").write_bytes(jpeg(number))
        (folder / f"{number:02}.txt").write_text(f"caption {number}")
    (folder / "03.jpg").write_bytes(b"no picture")
    options = {"input": folder, "samples_per_shard": 2, "workers": 1}
    build(Build(**options, output=tmp_path / "whole"))
    return options | {"output": tmp_path / "out"}


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_parts_make_what_one_run_makes(options, tmp_path, capsys, order) -> None:
    for place, part in enumerate(order):
        build(Build(**options, part=f"{part}/3"))
        printed = capsys.readouterr().out
        left = 7 - len(list((tmp_path / "out").glob("*.tar")))
        if place < 2:
            assert f"{left} of 7 shards are still to come: " in printed
            assert f"+ {2 * left} in shards still to come" in printed
            assert not (tmp_path / "out" / "sizes.json").exists()
    assert "14 inputs = 13 written + 1 failed_to_decode;" in printed
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_parts_may_run_at_once_and_be_killed(options, tmp_path) -> None:
    line = [sys.executable, "-m", "data_tools", "build", "--workers", "1"]
    line += ["--input", str(options["input"]), "--output", str(tmp_path / "out")]
    line += ["--samples-per-shard", "2"]

    def start(part: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([*line, "--part", f"{part}/2"], cwd=ROOT, stdout=subprocess.DEVNULL)

    first = [start(1), start(2)]
    while not list((tmp_path / "out").glob("*_stats.json")):
        time.sleep(0.001)
    os.kill(first[0].pid, signal.SIGKILL)
    first[0].wait()
    assert first[1].wait() == 0
    assert start(1).wait() == 0
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_part_is_held_by_one_run_and_keeps_whole_runs_out(options, tmp_path) -> None:
    folder = LocalFolder(tmp_path / "out")
    with folder.held("2/3"):
        with pytest.raises(InputError, match="another run is writing part 2/3"):
            build(Build(**options, part="2/3"))
        with pytest.raises(InputError, match="another run is writing there"):
            build(Build(**options))
        build(Build(**options, part="1/3"))
    with folder.held("1/1"), pytest.raises(InputError, match="another run is writing there"):
        build(Build(**options, part="1/3"))
    for part in ("2/3", "3/3"):
        build(Build(**options, part=part))
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_run_leaves_the_temporary_files_of_others(options, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    ended, zombie = subprocess.Popen(["true"]), subprocess.Popen(["true"])
    ended.wait()
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    here = platform.node()
    names = {
        "dead": f".00001.tar.{here}.{ended.pid}.tmp",
        "zombie": f".00003.tar.{here}.{zombie.pid}.tmp",
        "alive": f".00004.tar.{here}.{os.getppid()}.tmp",
        "elsewhere": f".00004.tar.another.host.{ended.pid}.tmp",
        "abandoned": f".00005.tar.another.host.{ended.pid}.tmp",
        "user's": ".notes.12.tmp",
    }
    for name in names.values():
        (tmp_path / "out" / name).write_bytes(b"half")
    for name in ("abandoned", "user's"):
        os.utime(tmp_path / "out" / names[name], (0, 0))
    for part in ("1/2", "1/1"):
        build(Build(**options, part=part))
        left = {name for name, file in names.items() if (tmp_path / "out" / file).exists()}
        assert left == {"alive", "elsewhere", "user's"}
    zombie.wait()


def test_a_part_does_not_begin_anew(options) -> None:
    with pytest.raises(InputError, match="would remove what the other parts have written"):
        build(Build(**options, part="1/2", restart=True))


def test_failures_of_a_part_are_retried_by_parts(options, tmp_path) -> None:
    build(Build(**options))
    (options["input"] / "03.jpg").write_bytes(jpeg(3))
    for part in ("1/2", "2/2"):
        build(Build(**options, part=part, retry_failed=True))
    build(Build(**options | {"output": tmp_path / "mended"}))
    assert files(tmp_path / "out") == files(tmp_path / "mended")
