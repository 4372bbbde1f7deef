"""Jobs in several processes or on Ray: retried when a worker dies, named when they fail."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from data_tools.engine import Options, Run, cores, own_part
from vlp.errors import InputError, RunError

EXECUTORS = ["serial", "process"]


def double(job):
    time.sleep(0.01 * (job % 3))  # later jobs finish first
    return 2 * job


def die_once(mark):
    if not mark.exists():
        mark.touch()
        os._exit(1)
    return "alive"


def die(job):
    if job == 1:
        os._exit(1)
    return job


def stumble(job):
    if job % 2:
        raise KeyError(f"of job {job}")
    return job


def refuse(job):
    raise InputError("--option 3: not that")


def rest(mark):
    mark.touch()
    try:
        time.sleep(60)
    except BaseException:
        mark.with_suffix(".cleaned").touch()
        raise


def fill_the_disk(path):
    with open("/dev/full", "wb") as file:
        file.write(b"x" * 100_000)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_results_come_in_the_order_of_the_jobs(executor):
    run = Run(double, list(range(20)), Options(executor=executor, workers=3))
    assert run.results() == [2 * job for job in range(20)]
    run.finish()


def test_a_job_whose_worker_was_killed_runs_again(tmp_path, capsys):
    marks = [tmp_path / name for name in "abcde"]
    run = Run(die_once, marks, Options(workers=2))
    assert run.results() == ["alive"] * 5
    run.finish()
    assert "a worker was killed; trying again" in capsys.readouterr().err


def test_a_job_that_always_kills_its_worker_fails_and_the_others_are_done(capsys):
    run = Run(die, list(range(6)), Options(workers=2))
    assert sorted(result for _, result in run) == [0, 2, 3, 4, 5]
    assert list(run.failures) == ["1"]
    with pytest.raises(RunError, match="1 of 6 failed"):
        run.finish()
    assert "killed 3 times" in capsys.readouterr().err


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_failed_job_is_named_and_the_others_go_on(tmp_path: Path, executor, capsys):
    folders = [tmp_path, tmp_path / "missing", tmp_path]
    run = Run(os.listdir, folders, Options(executor=executor, workers=2), name=lambda f: f.name)
    assert len(list(run)) == 2
    with pytest.raises(RunError, match="1 of 3 failed"):
        run.finish()
    assert "failed: missing: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_error_that_nobody_foresaw_fails_its_job_with_one_traceback(executor, capsys):
    run = Run(stumble, list(range(6)), Options(executor=executor, workers=2))
    assert run.results() == [0, 2, 4]
    assert run.failures == {str(job): f"KeyError: 'of job {job}'" for job in (1, 3, 5)}
    told = capsys.readouterr().err
    assert told.count("failed: ") == 3
    assert told.count("Traceback") == told.count("in stumble") == 1


@pytest.mark.parametrize("executor", [*EXECUTORS, "ray"])
def test_what_is_wrong_with_every_job_ends_the_run(executor):
    with pytest.raises(InputError, match=r"^--option 3: not that$"):
        list(Run(refuse, [1, 2, 3], Options(executor=executor, workers=2)))


@pytest.fixture
def interruptible():
    """A shell that starts tests in the background has them ignore interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_the_workers_and_they_clean_up(tmp_path, interruptible):
    marks = [tmp_path / name for name in "abcdef"]
    run = Run(rest, marks, Options(workers=2))

    def interrupt():
        while not all(mark.exists() for mark in marks[:2]):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(run)
    assert time.monotonic() - started < 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.cleaned", "b", "b.cleaned"]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_full_disk_stops_everything(tmp_path: Path, executor):
    run = Run(fill_the_disk, [1, 2, 3], Options(executor=executor, workers=2))
    with pytest.raises(RunError, match="No space left on device; the same command continues"):
        list(run)


def test_ray_gives_the_same_and_tries_again_what_died(tmp_path: Path, capsys):
    marks = [tmp_path / name for name in "ab"]
    run = Run(die_once, marks, Options(executor="ray", workers=2))
    assert run.results() == ["alive"] * 2
    assert "a worker died; trying again" in capsys.readouterr().err
    missing = Run(os.listdir, [tmp_path, tmp_path / "c"], Options(executor="ray", workers=2))
    assert missing.results() == [["a", "b"]] or missing.results() == [["b", "a"]]
    assert "No such file" in missing.failures[str(tmp_path / "c")]


def test_parts_are_disjoint_and_complete():
    jobs = list(range(11))
    parts = [own_part(jobs, Options(part=f"{i}/4")) for i in (1, 2, 3, 4)]
    assert sorted(job for part in parts for job in part) == jobs
    assert Options().is_whole
    assert not Options(part="2/4").is_whole


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_a_part_that_is_none_is_refused(part):
    with pytest.raises(InputError, match="expected I/N"):
        Options(part=part)


def test_workers_are_never_more_than_jobs_and_never_negative():
    assert cores() >= 1
    with pytest.raises(InputError, match="--workers -1"):
        Options(workers=-1)
