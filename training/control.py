"""What the ranks agree on after every step, on the CPU and beside the features' collectives.

A signal reaches one rank first, one rank alone writes checkpoints, each reads other samples: a
decision that one takes alone would leave the others waiting for ever. One small all-reduce a step
makes every decision common.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from vlp.data.loader import Batch
from vlp.dist import active, rank

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)  # of Slurm, and Ctrl-C


@dataclass
class Votes:
    """What a rank has to say; counts add up, flags win if any rank raises them."""

    stop: int = 0
    failed: int = 0
    log: int = 0
    evaluate: int = 0
    save: int = 0
    substituted: int = 0
    truncated: int = 0
    fallbacks: int = 0

    def of_batch(self, batch: Batch | None) -> "Votes":
        """With what a batch has to report; without one nothing."""
        if batch is not None:
            self.substituted = len(batch["problems"])
            self.truncated = batch["truncated"]
            self.fallbacks = batch["fallbacks"]
        return self


class Control:
    """Common decisions of all ranks."""

    def __init__(self) -> None:
        on_gpu = active() and dist.get_backend() != "gloo"
        self._group: dist.ProcessGroup | None = None
        if on_gpu:
            self._group = dist.new_group(backend="gloo")  # type: ignore[assignment]
        self.signalled = threading.Event()
        self.is_main = rank() == 0
        self._before: dict[signal.Signals, Any] = {}

    def agree(self, votes: Votes) -> Votes:
        """The sum over ranks, the same on every rank."""
        votes.stop += int(self.signalled.is_set())
        if not active():
            return votes
        counts = torch.tensor([int(value) for value in vars(votes).values()])
        dist.all_reduce(counts, group=self._group)
        return Votes(*counts.tolist())

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take note of stop signals instead of dying of them; a second Ctrl-C stops at once."""

        def note(number: int, _: FrameType | None) -> None:
            if number == signal.SIGINT and self.signalled.is_set():
                raise KeyboardInterrupt
            self.signalled.set()

        self._before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Die of signals again: a run that fails must not outlive its launcher's patience."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
