"""Runs one function over many jobs, in this process or in several, with progress and a bound."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from data_tools.errors import RunError

Job = TypeVar("Job")
Result = TypeVar("Result")

_WAITING_PER_WORKER = 2  # jobs sent ahead, so that no worker waits and memory stays bounded


def worker_count(workers: int, jobs: int) -> int:
    """Processes to use: 0 asks for one for each core; never more than there are jobs."""
    return max(1, min(workers or _cores(), jobs))


def _cores() -> int:
    """Cores that this process may use, where the system tells; otherwise all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_jobs(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, name: Callable[[Job], str]
) -> Iterator[tuple[Job, Result]]:
    """Results as they come, in no fixed order; one worker means this process.

    Args:
        name: what to call a job in an error.

    Raises:
        RunError: a worker was killed, or could not write.
    """
    if workers == 1:
        for job in jobs:
            yield job, _called(work, job, name)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    try:
        yield from _run_pool(pool, work, iter(jobs), workers * _WAITING_PER_WORKER, name)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _called(work: Callable[[Job], Result], job: Job, name: Callable[[Job], str]) -> Result:
    try:
        return work(job)
    except OSError as error:
        raise _failed(error, name(job)) from error


def _failed(error: OSError, what: str) -> RunError:
    file = f" ({error.filename})" if error.filename else ""
    return RunError(
        f"{what}: {error.strerror or error}{file}; the same command continues from here"
    )


def _run_pool(
    pool: ProcessPoolExecutor,
    work: Callable[[Job], Result],
    jobs: Iterator[Job],
    bound: int,
    name: Callable[[Job], str],
) -> Iterator[tuple[Job, Result]]:
    running: dict[Future[Result], Job] = {}
    while True:
        for job in itertools.islice(jobs, bound - len(running)):
            running[pool.submit(work, job)] = job
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            try:
                result = future.result()
            except BrokenProcessPool:
                names = ", ".join(sorted(name(job) for job in running.values()))
                raise RunError(
                    f"a worker was killed (out of memory?) while these were under way: {names}; "
                    "the same command continues from here"
                ) from None
            except OSError as error:
                raise _failed(error, name(running[future])) from error
            yield running.pop(future), result


def _end_with_parent() -> None:
    """A worker whose parent was killed must not go on writing beside the build that resumes.

    An interrupt from the terminal reaches every process; the parent alone handles it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: "multiprocessing.process.BaseProcess") -> None:
    parent.join()
    os._exit(1)
