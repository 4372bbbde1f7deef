"""The training loop, on one page.

What a rank does alone (fetching data, writing files) may fail on that rank alone. Such a failure is
kept, and the ranks agree on it before the next collective: none is left waiting for another. An
evaluation communicates within itself, so a failure in it ends the rank's process instead.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from torch import Tensor

from training.config import TrainConfig
from training.control import Control, Votes
from training.logs import Cadence, Logs, Speed
from training.state import Progress
from vlp.data.loader import Batch
from vlp.data.source import UnusableSampleError
from vlp.data.tar import DamagedShardError

T = TypeVar("T")

# What can happen to one rank's files and disks; anything else is a defect and keeps its traceback.
LOCAL_FAILURES = (OSError, UnusableSampleError, DamagedShardError)


class TrainingStoppedError(RuntimeError):
    """The run cannot go on; the message says why and what can be done."""


class Trainer(Protocol):
    """What the loop needs done; `training.build` puts it together."""

    def optimize(self, batch: Batch, step: int) -> dict[str, Tensor]: ...
    def evaluate(self, progress: Progress) -> None: ...
    def save(self, progress: Progress) -> None: ...
    def finish_saving(self, *, wait: bool) -> None: ...
    def report(self, batch: Batch, progress: Progress) -> None: ...
    def measures(self, values: Mapping[str, Tensor]) -> dict[str, float]: ...


@dataclass
class Failures:
    """What went wrong on this rank since the ranks last agreed."""

    found: list[str] = field(default_factory=list)

    def keep(self, action: Callable[[], T]) -> T | None:
        """Do something that may fail on this rank alone; None if it did."""
        try:
            return action()
        except LOCAL_FAILURES as error:
            # a loader worker's error comes with its stack; the last line is the message
            self.found.append((str(error).strip() or repr(error)).splitlines()[-1])
            return None

    def stop_if_any(self, control: Control, votes: Votes) -> Votes:
        """Agree on the votes; raise on every rank if any rank has failed."""
        votes.failed = len(self.found)
        agreed = control.agree(votes)
        if agreed.failed:
            control.let_go()
            raise TrainingStoppedError("; ".join(self.found) or "another rank failed, see there")
        return agreed


def train(
    config: TrainConfig,
    trainer: Trainer,
    data: Iterator[Batch],
    progress: Progress,
    control: Control,
    logs: Logs,
) -> bool:
    """Run from `progress` to the end. True if it is done, False if a signal stopped it.

    `data` are the batches from `progress` on.

    Raises:
        TrainingStoppedError: too many non-finite updates or unusable samples, data that cannot be
            read, or no place to save.
    """
    log, evaluate, save = (
        Cadence(every, config.batch, voting=control.is_main)
        for every in (config.log.every, config.eval.every, config.checkpoint.every)
    )
    failures, speed = Failures(), Speed(progress.samples_seen)
    for step in range(progress.step, config.steps):
        with speed.waiting():
            batch = failures.keep(partial(next, data))
        seen, last = (step + 1) * config.batch, step + 1 == config.steps
        failures.keep(partial(trainer.finish_saving, wait=False))
        due = Votes(log=log.due(seen), evaluate=evaluate.due(seen), save=save.due(seen))
        agreed = failures.stop_if_any(control, due.of_batch(batch))
        assert batch is not None  # or there was a failure

        values = trainer.optimize(batch, step)
        progress.advance(step + 1, seen, agreed.substituted, agreed.truncated, agreed.fallbacks)
        logs.step(config.batch)
        if agreed.substituted:
            failures.keep(partial(trainer.report, batch, progress))
        if agreed.log or agreed.save or agreed.stop or last:
            measured = trainer.measures(values)
            _stop_if_hopeless(config, progress, measured)
            if agreed.log or last:
                entry = {**progress.counts(), **measured, **speed.since(seen)}
                failures.keep(partial(logs.write, entry))
        if agreed.evaluate or last:
            with speed.paused():  # all ranks communicate in it, so a failure must end the process
                trainer.evaluate(progress)
        if agreed.save or agreed.stop or last:
            with speed.paused():
                failures.keep(partial(trainer.save, progress))
        if agreed.stop:
            break
    failures.keep(partial(trainer.finish_saving, wait=True))
    failures.stop_if_any(control, Votes())
    return progress.step >= config.steps


def _stop_if_hopeless(
    config: TrainConfig, progress: Progress, measured: Mapping[str, float]
) -> None:
    """Stop before a checkpoint is overwritten by something worse. Equal on all ranks."""
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
