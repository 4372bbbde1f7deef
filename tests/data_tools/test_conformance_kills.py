"""Every command goes on after SIGKILL at random moments, and in parts, to the same bytes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.data_tools.conformance import CASES, by_name, run, same, tree
from tests.data_tools.trees import files

ROOT = Path(__file__).parents[2]
_KILLS = 3  # times a run is killed before it may end


@pytest.mark.parametrize("case", [case for case in CASES if case.has_parts], ids=by_name)
def test_parts_in_any_order_give_the_same(case, world, expected, tmp_path):
    parts = [["--executor", "serial", "--part", f"{part}/3"] for part in (3, 1, 2)]
    # a command of several passes is run again, as its message says
    same(tree(case, world, tmp_path / "c", *parts, *parts[:1]), expected(case))


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_killed_runs_go_on_to_the_same(case, world, expected, tmp_path):
    folder = tmp_path / "c"
    folder.mkdir()
    case.prepare(world, folder)
    command = [sys.executable, "-m", "data_tools", *map(str, case.arguments(folder))]
    command += ["--workers", "2"]
    draw = random.Random(case.name)
    started = time.monotonic()
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode in (0, 1)
    whole = time.monotonic() - started
    _clear(folder)
    case.prepare(world, folder)
    for _ in range(_KILLS):
        child = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        time.sleep(draw.uniform(0.3, 1.0) * whole)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    run([*case.arguments(folder), "--executor", "serial"])
    found = {name: data.replace(os.fsencode(folder), b"") for name, data in files(folder).items()}
    same(found, expected(case))


def _clear(folder):
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
