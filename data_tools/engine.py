"""Runs one function over many jobs: in this process, in several, or on Ray.

A job is a shard or a picture file, whose result depends on nothing but the job. So a job can be run
again after its worker was killed, on another machine, or in another order, with the same result.
"""

import errno
import importlib
import itertools
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from tqdm import tqdm

from vlp.data.images import UnreadableImageError
from vlp.data.tar import DamagedShardError
from vlp.errors import InputError, RunError
from vlp.progress import bar
from vlp.terminal import printable

Job = TypeVar("Job")
Result = TypeVar("Result")
_Outcomes = Iterator[tuple[Job, "_Outcome[Result]"]]

_AHEAD = 2  # jobs sent to each worker, so that none waits and memory stays bounded
_ATTEMPTS = 3  # of a job whose worker dies
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every command takes.

    Args:
        workers: processes at a time; 0 is one for each core.
        executor: serial (this process), process (several on this machine), or ray (the cluster of
            RAY_ADDRESS, else one on this machine).
        part: I/N does shards I, I + N, I + 2N and so on, for N runs that share the files.
        seed: of everything that is drawn; equal seeds give equal bytes.
    """

    workers: int = 0
    executor: Literal["serial", "process", "ray"] = "process"
    part: str = "1/1"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise InputError(f"--workers {self.workers}: expected 0 (one for each core) or more")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: expected 0 or more")
        numbers = re.fullmatch(r"(\d+)/(\d+)", self.part)
        if not numbers or not 1 <= int(numbers[1]) <= int(numbers[2]):
            raise InputError(f"--part {self.part}: expected I/N, from 1/N to N/N")

    @property
    def is_whole(self) -> bool:
        """Whether this run does every shard."""
        return self.part.endswith("/1")


def own_part(jobs: Sequence[Job], options: Options) -> list[Job]:
    """The jobs of this run's part."""
    own, parts = map(int, options.part.split("/"))
    return list(jobs[own - 1 :: parts])


@dataclass(frozen=True)
class _Outcome(Generic[Result]):
    """What became of a job: its results (one) or an error."""

    results: tuple[Result, ...] = ()
    error: str = ""
    is_disk_full: bool = False
    trace: str = ""  # of an error that nobody foresaw


class Run(Generic[Job, Result]):
    """Runs `work` over jobs; iterate for the results as they come, in no fixed order.

    A job that fails is named on stderr, and the others go on; `finish` raises for those. An error
    that nobody foresaw fails its job too, with a traceback of the first. A job whose worker is
    killed is tried again. InputError and RunError, which every job would have, end the run.

    Args:
        work: a function of a module; it and the jobs are sent to other processes.
        what: for the progress bar.
        name: what to call a job.
        weight: samples of a job, so that progress is counted in samples; jobs count one each
            without it.
    """

    def __init__(
        self,
        work: Callable[[Job], Result],
        jobs: Sequence[Job],
        options: Options,
        *,
        what: str = "working",
        name: Callable[[Job], str] = str,
        weight: Callable[[Job], int] | None = None,
    ) -> None:
        self._work = work
        self._jobs = jobs
        self._options = options
        self._what = what
        self._name = name
        self._weight = weight
        self.failures: dict[str, str] = {}  # name of the job -> what went wrong
        self._is_traced = False

    def __iter__(self) -> Iterator[tuple[Job, Result]]:
        unit = "shards" if self._weight is None else "samples"
        weight = self._weight or (lambda _: 1)
        total = sum(map(weight, self._jobs))
        with bar(self._what, unit, total) as done:
            for job, outcome in self._outcomes():
                if outcome.is_disk_full:
                    raise RunError(
                        f"{self._name(job)}: {outcome.error}; the same command continues from here"
                    )
                done.update(weight(job))
                if outcome.error:
                    self._fail(job, outcome, done)
                for result in outcome.results:
                    yield job, result

    def _fail(self, job: Job, outcome: _Outcome[Result], done: "tqdm[Any]") -> None:
        self.failures[self._name(job)] = outcome.error
        done.write(printable(f"failed: {self._name(job)}: {outcome.error}"), file=sys.stderr)
        if outcome.trace and not self._is_traced:  # the same bug would fill the screen
            self._is_traced = True
            done.write(outcome.trace, file=sys.stderr)

    def results(self) -> list[Result]:
        """The results in the order of the jobs, without those that failed."""
        places = {id(job): place for place, job in enumerate(self._jobs)}
        found = {places[id(job)]: result for job, result in self}
        return [found[place] for place in sorted(found)]

    def finish(self) -> None:
        """Raises RunError if a job failed."""
        if self.failures:
            raise RunError(
                f"{len(self.failures):,} of {len(self._jobs):,} failed, and are named above; "
                "the same command tries them again"
            )

    def _outcomes(self) -> "_Outcomes[Job, Result]":
        executor, workers = self._options.executor, self._options.workers
        if executor == "ray":
            return _on_ray(self._work, self._jobs, workers, self._name)
        workers = max(1, min(workers or cores(), len(self._jobs)))
        if executor == "serial" or workers == 1:
            return ((job, _attempt(self._work, job)) for job in self._jobs)
        return _in_processes(self._work, self._jobs, workers, self._name)


def cores() -> int:
    """Cores that this process may use, where the system tells; otherwise all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _attempt(work: Callable[[Job], Result], job: Job) -> _Outcome[Result]:
    try:
        return _Outcome((work(job),))
    except OSError as error:
        file = f" ({error.filename})" if error.filename else ""
        return _Outcome((), f"{error.strerror or error}{file}", error.errno in _DISK_FULL)
    except (DamagedShardError, UnreadableImageError) as error:
        return _Outcome((), str(error))
    except (InputError, RunError):
        raise
    except Exception as error:
        told = f"{type(error).__name__}: {error}".removesuffix(": ")
        return _Outcome((), told, trace=traceback.format_exc())


def _attempt_in_worker(work: Callable[[Job], Result], job: Job) -> _Outcome[Result]:
    try:
        return _attempt(work, job)
    except SystemExit:  # as the run ends, when what was half written is removed
        os._exit(1)


def _in_processes(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, name: Callable[[Job], str]
) -> "_Outcomes[Job, Result]":
    """Each job in one of several processes; one that was under way when one died, alone."""
    waiting = deque(jobs)
    while waiting:
        suspects = yield from _until_broken(work, waiting, workers)
        for job in suspects:
            yield job, _alone(work, job, name)


def _until_broken(work: Callable[[Job], Result], waiting: deque[Job], workers: int) -> Any:  # noqa: ANN401 (a generator that returns the jobs under way when a worker died)
    running: dict[Future[_Outcome[Result]], Job] = {}
    others = set(multiprocessing.active_children())
    pool = _pool(workers)
    try:
        while waiting or running:
            try:
                while waiting and len(running) < workers * _AHEAD:
                    running[pool.submit(_attempt_in_worker, work, waiting[0])] = waiting[0]
                    waiting.popleft()
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    outcome = future.result()
                    yield running.pop(future), outcome
            except BrokenProcessPool:
                return list(running.values())
        return []
    except BaseException:  # an interrupt: what is under way may take minutes, and can be made again
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _alone(work: Callable[[Job], Result], job: Job, name: Callable[[Job], str]) -> _Outcome[Result]:
    for attempt in itertools.count(2):
        print(f"a worker was killed; trying again: {name(job)}", file=sys.stderr, flush=True)
        with _pool(1) as pool:
            try:
                return pool.submit(_attempt_in_worker, work, job).result()
            except BrokenProcessPool:
                if attempt == _ATTEMPTS:
                    return _Outcome((), f"its worker was killed {attempt} times (out of memory?)")
    raise AssertionError("unreachable")


def _pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """A worker whose parent was killed must not go on writing beside the run that resumes.

    An interrupt from the terminal reaches every process; the parent alone handles it, and ends the
    workers, which clean up.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: "multiprocessing.process.BaseProcess") -> None:
    parent.join()
    os._exit(1)


def _on_ray(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, name: Callable[[Job], str]
) -> "_Outcomes[Job, Result]":
    """Each job as a task of Ray Core; a bounded number is under way."""
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise InputError("--executor ray: needs Ray; pip install -e '.[ray]'") from None
    is_ours = not ray.is_initialized()
    if is_ours:
        _start(ray, workers)
    try:
        bound = workers or int(ray.cluster_resources().get("CPU", 1))
        task = ray.remote(max_retries=0)(_attempt)
        waiting = deque((job, 1) for job in jobs)
        running: dict[Any, tuple[Job, int]] = {}
        while waiting or running:
            while waiting and len(running) < bound:
                job, attempt = waiting.popleft()
                running[task.remote(work, job)] = job, attempt
            done, _ = ray.wait(list(running), num_returns=1)
            job, attempt = running.pop(done[0])
            try:
                yield job, ray.get(done[0])
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:  # the worker or its machine
                if attempt == _ATTEMPTS:
                    yield job, _Outcome((), f"its worker died {attempt} times ({error})")
                else:
                    print(f"a worker died; trying again: {name(job)}", file=sys.stderr, flush=True)
                    waiting.append((job, attempt + 1))
    finally:
        if is_ours:
            ray.shutdown()


def _start(ray: Any, workers: int) -> None:  # noqa: ANN401 (a module)
    local = None if "RAY_ADDRESS" in os.environ else workers or cores()
    ray.init(
        num_cpus=local, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
