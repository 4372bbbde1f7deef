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

import torch
import torch.distributed as dist

from vlp.dist import active

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # Slurm sends either before it kills


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


class Control:
    """Common decisions of all ranks."""

    def __init__(self) -> None:
        on_gpu = active() and dist.get_backend() != "gloo"
        self._group: dist.ProcessGroup | None = None
        if on_gpu:
            self._group = dist.new_group(backend="gloo")  # type: ignore[assignment]
        self.signalled = threading.Event()

    def agree(self, votes: Votes) -> Votes:
        """The sum over ranks, the same on every rank."""
        votes.stop += int(self.signalled.is_set())
        if not active():
            return votes
        counts = torch.tensor(list(vars(votes).values()))
        dist.all_reduce(counts, group=self._group)
        return Votes(*counts.tolist())

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take note of stop signals instead of dying of them."""

        def note(_: int, __: FrameType | None) -> None:
            self.signalled.set()

        before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
