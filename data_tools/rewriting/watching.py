"""Progress in answers: read off the files to which workers, wherever they run, save theirs."""

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from vlp.progress import bar

_EVERY = 2.0  # seconds
_PATIENCE = 20  # the pause is at least so many times as long as a look at the files


class Watch:
    """A bar that shows answers, answers a second and the time left, while a `with` block runs.

    Args:
        logs: the files that answers are saved to, one for each shard that is to be done.
        total: answers that there will be, if known.
    """

    def __init__(self, logs: Sequence[Path], total: int | None) -> None:
        self._logs = frozenset(logs)
        self._total = total
        self._offsets: dict[Path, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._begin = time.monotonic()
        self.before = self.count = self._counted()

    def __enter__(self) -> "Watch":
        self._bar = bar("rewriting", "answers", self._total)
        self._bar.initial = self._bar.n = self.before  # the rate is that of this run
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._update()
        self._bar.close()

    def told(self) -> str:
        """How fast it went."""
        fresh, seconds = self.count - self.before, time.monotonic() - self._begin
        return f"{fresh:,} answers in {seconds:,.0f} s, {fresh / max(seconds, 1e-9):,.1f} a second"

    def _poll(self) -> None:
        pause = _EVERY
        while not self._over.wait(pause):
            begin = time.monotonic()
            self._update()
            # a far file system with many shards is not to be kept busy by a bar
            pause = max(_EVERY, _PATIENCE * (time.monotonic() - begin))

    def _update(self) -> None:
        self.count += self._counted()
        self._bar.update(self.count - self._bar.n)

    def _counted(self) -> int:
        """Lines that were added since it was called last."""
        lines = 0
        for folder in sorted({log.parent for log in self._logs}):
            with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
                grown = [Path(entry) for entry in entries if self._has_grown(entry)]
                lines += sum(map(self._new_lines, grown))
        return lines

    def _has_grown(self, entry: "os.DirEntry[str]") -> bool:
        path = Path(entry)
        return path in self._logs and entry.stat().st_size != self._offsets.get(path, 0)

    def _new_lines(self, log: Path) -> int:
        lines = 0
        with open(log, "rb") as file:
            file.seek(self._offsets.get(log, 0))
            while block := file.read(1 << 20):
                lines += block.count(b"\n")
            self._offsets[log] = file.tell()
        return lines
