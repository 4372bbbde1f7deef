"""The training loop, on one page."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from training.config import TrainConfig
from training.control import Control, Votes
from training.logs import Cadence, Logs
from training.state import Progress
from vlp.data.loader import Batch


class TrainingStoppedError(RuntimeError):
    """The run cannot go on; the message says why and what can be done."""


class Trainer(Protocol):
    """What the loop needs done; `training.build` puts it together."""

    def batches(self, start: int, stop: int) -> Iterator[Batch]: ...
    def optimize(self, batch: Batch, step: int) -> dict[str, Tensor]: ...
    def evaluate(self, progress: Progress) -> None: ...
    def save(self, progress: Progress) -> None: ...
    def finish_saving(self, *, wait: bool) -> None: ...
    def report(self, batch: Batch) -> None: ...
    def measures(self, values: Mapping[str, Tensor]) -> dict[str, float]: ...


@dataclass(frozen=True, kw_only=True)
class Cadences:
    """When to log, evaluate and save."""

    log: Cadence
    evaluate: Cadence
    save: Cadence


def train(
    config: TrainConfig, trainer: Trainer, progress: Progress, control: Control, logs: Logs
) -> bool:
    """Run from `progress` to the end. True if it is done, False if a signal stopped it.

    Raises:
        TrainingStoppedError: too many non-finite updates or unusable samples, or no place to save.
    """
    cadences = Cadences(
        log=Cadence(config.log.every, config.batch),
        evaluate=Cadence(config.eval.every, config.batch),
        save=Cadence(config.checkpoint.every, config.batch),
    )
    speed = Speed(progress.samples_seen)
    data = trainer.batches(progress.step, config.steps)
    for step in range(progress.step, config.steps):
        batch = speed.timed(lambda: next(data))
        values = trainer.optimize(batch, step)
        progress.step, progress.samples_seen = step + 1, (step + 1) * config.batch
        logs.step(config.batch)

        failure = _failure_of(trainer, wait=False)
        agreed = control.agree(_votes(batch, cadences, progress, failure))
        progress.substituted += agreed.substituted
        progress.truncated += agreed.truncated
        progress.fallbacks += agreed.fallbacks
        last = step + 1 == config.steps
        if agreed.substituted:
            trainer.report(batch)
        if agreed.failed:
            raise TrainingStoppedError(str(failure or "another rank could not save"))
        if agreed.log or agreed.save or agreed.stop or last:
            measured = trainer.measures(values)
            _stop_if_hopeless(config, progress, measured)
            if agreed.log or last:
                logs.write({**_where(progress), **measured, **speed.since(progress.samples_seen)})
        if agreed.evaluate or last:
            trainer.evaluate(progress)
        if agreed.save or agreed.stop or last:
            trainer.save(progress)
        if agreed.stop and not last:
            trainer.finish_saving(wait=True)
            return False
    failure = _failure_of(trainer, wait=True)
    if control.agree(Votes(failed=int(failure is not None))).failed:
        raise TrainingStoppedError(str(failure or "another rank could not save"))
    return True


def _failure_of(trainer: Trainer, *, wait: bool) -> OSError | None:
    try:
        trainer.finish_saving(wait=wait)
    except OSError as error:
        return error
    return None


def _votes(batch: Batch, cadences: Cadences, progress: Progress, failure: OSError | None) -> Votes:
    seen = progress.samples_seen
    return Votes(
        failed=int(failure is not None),
        log=int(cadences.log.due(seen)),
        evaluate=int(cadences.evaluate.due(seen)),
        save=int(cadences.save.due(seen)),
        substituted=len(batch["problems"]),
        truncated=batch["truncated"],
        fallbacks=batch["fallbacks"],
    )


def _where(progress: Progress) -> dict[str, float | int]:
    return dict(vars(progress))


def _stop_if_hopeless(
    config: TrainConfig, progress: Progress, measured: Mapping[str, float]
) -> None:
    """Stop before a checkpoint is overwritten by something worse."""
    progress.nonfinite = int(measured["nonfinite"])
    if measured["nonfinite_in_a_row"] >= config.max_nonfinite:
        raise TrainingStoppedError(
            f"the gradients of the last {int(measured['nonfinite_in_a_row'])} steps up to step "
            f"{progress.step} were not finite; the last good state is the newest checkpoint. "
            "A lower optim.lr, optim.clip_grad_norm or precision: fp32 may help"
        )
    allowed = config.data.max_unreadable * max(progress.samples_seen, 1000)
    if progress.substituted > allowed:
        raise TrainingStoppedError(
            f"{progress.substituted} of {progress.samples_seen} samples were unusable, more than "
            f"data.max_unreadable = {config.data.max_unreadable:.2%}; they are listed in "
            f"{config.run}/problems.jsonl"
        )


class Speed:
    """Throughput and the share of time spent waiting for data, since the last report."""

    def __init__(self, samples_seen: int) -> None:
        self._seen, self._since, self._waited = samples_seen, time.perf_counter(), 0.0

    def timed(self, fetch: Callable[[], Batch]) -> Batch:
        """Fetch a batch and count the wait."""
        begin = time.perf_counter()
        batch = fetch()
        self._waited += time.perf_counter() - begin
        return batch

    def since(self, samples_seen: int) -> dict[str, float]:
        """`pairs_per_second`, `data_wait` (share of time), and start over."""
        elapsed = time.perf_counter() - self._since
        pairs = samples_seen - self._seen
        waited = self._waited
        self._seen, self._since, self._waited = samples_seen, time.perf_counter(), 0.0
        return {
            "pairs_per_second": pairs / elapsed,
            "data_wait": waited / elapsed,
            "memory_bytes": float(torch.cuda.max_memory_allocated()),
        }
