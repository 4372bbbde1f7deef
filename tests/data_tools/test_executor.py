"""Jobs in several processes: bounded, and clear about a worker that dies or cannot write."""

import os
from pathlib import Path

import pytest

from data_tools.errors import RunError
from data_tools.executor import run_jobs, worker_count


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_gives_its_result(workers: int) -> None:
    jobs = list(range(20))
    assert sorted(run_jobs(abs, jobs, workers, str)) == [(job, job) for job in jobs]


def test_a_killed_worker_is_told_with_what_it_was_doing() -> None:
    with pytest.raises(RunError, match=r"a worker was killed .* under way: 1"):
        list(run_jobs(os._exit, [1], 2, str))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_disk_names_the_job(tmp_path: Path, workers: int) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(RunError, match=r"job 7: No such file or directory \(.*missing"):
        list(run_jobs(os.listdir, [missing], workers, lambda _: "job 7"))


def test_workers_are_never_more_than_jobs() -> None:
    assert worker_count(8, 3) == 3
    assert worker_count(2, 3) == 2
    assert worker_count(0, 1000) == len(os.sched_getaffinity(0))
    assert worker_count(0, 0) == 1
