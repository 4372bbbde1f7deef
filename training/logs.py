"""What a run says: `metrics.jsonl` always, trackers through accelerate, a progress bar."""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from accelerate import Accelerator
from tqdm import tqdm

from training.config import seconds
from vlp.data.files import replace_atomically


def drop_later_lines(path: Path, samples_seen: int, where: Callable[[Any], int | None]) -> None:
    """Take back the lines of a JSON-lines file from after a checkpoint, and lines cut by a crash.

    Args:
        path: the file; it need not exist.
        samples_seen: of the checkpoint.
        where: the samples seen of a line; a line without them is nothing of the run's, and stays.
    """
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            at = where(json.loads(line))
        except ValueError:
            continue  # the process died while writing this line
        if at is None or at <= samples_seen:
            kept.append(line + "\n")
    text = "".join(kept)
    replace_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


class MetricsFile:
    """One JSON object a logged step. On resume, lines from after the checkpoint are taken back.

    Args:
        path: the file.
        samples_seen: of the checkpoint; later lines, and a line cut by a crash, are dropped.
    """

    def __init__(self, path: Path, samples_seen: int) -> None:
        drop_later_lines(path, samples_seen, lambda line: line.get("samples_seen"))
        self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (kept open)

    def write(self, entry: Mapping[str, float | int | None]) -> None:
        """Append a line. Values that are not finite become null: NaN is no JSON."""
        finite = {
            key: None if isinstance(value, float) and not _finite(value) else value
            for key, value in entry.items()
        }
        self._file.write(json.dumps(finite, allow_nan=False) + "\n")

    def close(self) -> None:
        self._file.close()


def _finite(value: float) -> bool:
    return value - value == 0


class Logs:
    """Where the main process reports to; elsewhere every call does nothing."""

    def __init__(self, run: Path, samples_seen: int, total: int, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.on_step: Callable[[], None] = lambda: None
        main = accelerator.is_main_process
        self._file = MetricsFile(run / "metrics.jsonl", samples_seen) if main else None
        interactive = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            initial=samples_seen,
            unit="pair",
            unit_scale=True,
            disable=not main,
            mininterval=0.5 if interactive else 15.0,
            dynamic_ncols=interactive,
        )

    def step(self, pairs: int) -> None:
        """Note that a step is done."""
        self.on_step()
        self._bar.update(pairs)

    def write(self, entry: Mapping[str, float | int | None]) -> None:
        """Report a logged step."""
        if self._file is None:
            return
        self._file.write(entry)
        step = entry["step"]
        self._accelerator.log({k: v for k, v in entry.items() if v is not None}, step=step)
        shown = {key: entry[key] for key in ("loss", "grad_norm", "scale", "data_wait")}
        self._bar.set_postfix({k: "-" if v is None else f"{v:.3g}" for k, v in shown.items()})

    def say(self, text: str) -> None:
        """A line for the person who watches, without tearing the bar."""
        if self._file is not None:
            tqdm.write(text, file=sys.stderr)

    def __enter__(self) -> "Logs":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._bar.close()
        if self._file is not None:
            self._file.close()
        if error is None:
            self._accelerator.end_training()


class Cadence:
    """Says when something is due: every so many samples, or after so much time.

    Args:
        every: samples, or a duration like "10min".
        batch: samples per step.
        voting: whether this rank's clock counts; ranks' clocks differ, so only one does.
    """

    def __init__(self, every: int | str, batch: int, *, voting: bool) -> None:
        self._seconds = seconds(every)
        self._every = every if isinstance(every, int) else 0
        self._batch = batch
        self._voting = voting
        self._last = time.monotonic()

    def due(self, samples_seen: int) -> bool:
        """Whether the step that ends at `samples_seen` crosses a multiple, or time is up."""
        if self._seconds is None:
            return samples_seen // self._every > (samples_seen - self._batch) // self._every
        if not self._voting or time.monotonic() - self._last < self._seconds:
            return False
        self._last = time.monotonic()
        return True


class Speed:
    """Throughput and the share of time spent waiting for data, since the last report."""

    def __init__(self, samples_seen: int) -> None:
        self._seen, self._since, self._waited = samples_seen, time.perf_counter(), 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count what happens inside as waiting for data."""
        begin = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begin

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens inside: an evaluation is no training."""
        begin = time.perf_counter()
        yield
        self._since += time.perf_counter() - begin

    def since(self, samples_seen: int) -> dict[str, float]:
        """`pairs_per_second`, `data_wait` (share of time), `memory_bytes`; then start over."""
        elapsed = time.perf_counter() - self._since
        pairs, waited = samples_seen - self._seen, self._waited
        self._seen, self._since, self._waited = samples_seen, time.perf_counter(), 0.0
        return {
            "pairs_per_second": pairs / elapsed,
            "data_wait": waited / elapsed,
            "memory_bytes": float(torch.cuda.max_memory_allocated()),
        }


def set_up_logging(*, main: bool) -> None:
    """Messages of this project on standard error; of other ranks and libraries only warnings."""
    logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stderr)
    for name in ("vlp", "training", "eval"):
        logging.getLogger(name).setLevel(logging.INFO if main else logging.ERROR)
