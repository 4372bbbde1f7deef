"""Every command gives the same bytes however it is run, and after SIGKILL at random moments."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_tools.__main__ import COMMANDS, main
from tests.data_tools.conformance import CASES
from tests.data_tools.conftest import jpeg
from tests.data_tools.test_score import model_folder
from tests.data_tools.trees import files

ROOT = Path(__file__).parents[2]
_CAPTIONS = (
    "two dogs run over green grass",
    "a red car stands in front of a house",
    "three children play with a blue ball",
    "a man rides a brown horse on the beach",
)
_KILLS = 3  # times a run is killed before it may end


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_arch):
    """Pictures with captions, and the seven shards that are built of them."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "raw").mkdir()
    rows = ["image\tcaption\tsplit"]
    for number in range(14):
        (folder / "raw" / f"{number}.jpg").write_bytes(jpeg(number % 12))
        split = "test" if number % 5 == 4 else "train"
        rows.append(f"{number}.jpg\t{_CAPTIONS[number % 4]} {number}\t{split}")
        rows.append(f"{number}.jpg\tpicture number {number}\t{split}")
    (folder / "raw" / "captions.tsv").write_text("\n".join(rows) + "\n")
    data = folder / "data"
    run(["build", "--input", folder / "raw" / "captions.tsv", "--output", data,
         "--samples-per-shard", 2, "--workers", 1])  # fmt: skip
    (data / "entries.txt").write_text("dogs\nred car\nchildren\nhorse\npicture number\nthe\n")
    answers = [
        {"key": f"{n // 2:05d}{n % 2:04d}", "answers": [f"{_CAPTIONS[n % 4]}, seen {n}", "no"]}
        for n in range(14)
    ]
    (data / "answers.jsonl").write_text("\n".join(map(json.dumps, answers)) + "\n")
    model_folder(folder / "model", tiny_arch, 1)
    _annotate(folder)
    return folder


def _annotate(world):
    """Sidecars that other commands read."""
    one = ["--executor", "serial"]
    for arguments in (
        ["filter", world / "data", "--where", "lot < 0.7", "--name", "keep-world"],
        ["negatives", world / "data", "--name", "negatives-world"],
        ["counts", world / "data", "--unverified", "--name", "counts-world"],
        ["score", world / "data", "--model", world / "model", "--name", "scores-world",
         "--embeddings", "embeddings-world"],
        ["rewrite", world / "data", "--backend", "replay", "--preset", "rephrase", "--answers",
         world / "data" / "answers.jsonl", "--name", "rewrites-world"],
    ):  # fmt: skip
        run([*arguments, *one])


@pytest.fixture(scope="module")
def ray():
    """A real Ray on this machine, started once."""
    ray = pytest.importorskip("ray", reason="Ray is an extra")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def run(arguments):
    """`python -m data_tools ARGUMENTS` in this process; validation may end with 1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["data_tools", *map(str, arguments)])
        assert main() in (0, 1)


def tree(case, world, folder, *further):
    """What a case leaves, after runs with these further arguments, one run for each."""
    folder.mkdir()
    case.prepare(world, folder)
    for arguments in further:
        run([*case.arguments(folder), *arguments])
    return {name: data.replace(os.fsencode(folder), b"") for name, data in files(folder).items()}


@pytest.fixture(scope="module")
def expected(world, tmp_path_factory):
    """The result of each case, run once in one process."""
    found = {}

    def result(case):
        if case.name not in found:
            folder = tmp_path_factory.mktemp(f"one-{case.name}") / "case"
            found[case.name] = tree(case, world, folder, ["--executor", "serial"])
        return found[case.name]

    return result


def by_name(case):
    return case.name


def same(found, wanted):
    """Compared name by name, so that a difference is told and not printed in full."""
    assert sorted(found) == sorted(wanted)
    assert [name for name in found if found[name] != wanted[name]] == []


def test_every_command_has_a_case():
    """`inspect` shows one sample and writes nothing."""
    assert {case.name.partition("-")[0] for case in CASES} == set(COMMANDS) - {"inspect"}


@pytest.mark.parametrize("case", CASES, ids=by_name)
@pytest.mark.parametrize("workers", [2, 7])
def test_any_number_of_workers_gives_the_same(case, workers, world, expected, tmp_path):
    same(tree(case, world, tmp_path / "c", ["--workers", workers]), expected(case))


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_ray_gives_the_same(case, world, expected, tmp_path, ray):
    same(tree(case, world, tmp_path / "c", ["--executor", "ray"]), expected(case))


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
