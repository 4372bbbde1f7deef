"""Saving and restoring a run exactly.

`RUN/checkpoints/step-NNNNNNNNN/`: `state/` (torch.distributed.checkpoint: model, objectives,
optimizer, averaged weights, progress), `model/` (what people share) and `complete.json`, which
lists every file with size and sha256. The folder is written under another name, flushed and
renamed, so it is whole or absent. Data order and random numbers are functions of the position, so
the position is all that is saved of them.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader

from training.shard import put
from vlp.data.files import write_json
from vlp.published import COMPLETE_FILE

log = logging.getLogger(__name__)
_STEP = re.compile(r"step-(\d{9})")
_PROGRESS_FILE = "progress.json"


@dataclass
class Progress:
    """Where a run is. Everything else follows from it and the tensors."""

    step: int = 0  # optimizer steps done, skipped ones included
    samples_seen: int = 0  # pairs, all ranks
    nonfinite: int = 0  # updates skipped, in all
    substituted: int = 0  # unusable samples, all ranks
    truncated: int = 0  # captions cut at the context length
    fallbacks: int = 0  # samples for which a sidecar has no row
    data: str = ""  # digest of the shards that the order is made of

    def advance(
        self, step: int, samples_seen: int, substituted: int, truncated: int, fallbacks: int
    ) -> None:
        """Note a step that was done, and what its samples had to report."""
        self.step, self.samples_seen = step, samples_seen
        self.substituted += substituted
        self.truncated += truncated
        self.fallbacks += fallbacks

    def counts(self) -> dict[str, int]:
        """What is logged."""
        return {name: value for name, value in asdict(self).items() if name != "data"}


Flat = dict[str, Tensor]


def flatten_optimizer(optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> Flat:
    """The optimizer's tensors by the parameters' names, so that they survive regrouping."""
    return {
        f"optimizer.{names[parameter]}.{key}": value
        for parameter, values in optimizer.state.items()
        for key, value in values.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str], flat: Mapping[str, Tensor]
) -> None:
    """The inverse of `flatten_optimizer`; options of the groups stay as configured."""
    by_name = {name: parameter for parameter, name in names.items()}
    for key, value in flat.items():
        if key.startswith("optimizer."):
            name, _, field = key.removeprefix("optimizer.").rpartition(".")
            if name not in by_name:
                raise ValueError(f"the checkpoint's optimizer has {name}, which this run has not")
            parameter = by_name[name]
            if value.shape == parameter.shape:  # keeps the parameter's memory format and sharding
                like = torch.empty_like(parameter, dtype=value.dtype)
                put(like, value)
                value = like
            optimizer.state[parameter][field] = value.to(parameter.device)


class Checkpoints:
    """The checkpoints of one run. One process writes; all may read.

    Args:
        run: the run's directory.
        keep: how many of the newest to keep.
    """

    def __init__(self, run: Path, keep: int) -> None:
        self.folder = run / "checkpoints"
        self.keep = keep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._saving: Future[None] | None = None

    def save(
        self, flat: Mapping[str, Tensor], progress: Progress, publish: Callable[[Path], object]
    ) -> None:
        """Copy the tensors and write them in the background, after any save still under way.

        Args:
            flat: every tensor of the run by name.
            progress: where it is.
            publish: writes the shareable model into the folder it is given; it must work on copies.
        """
        self.wait()
        copies = {name: value.detach().to("cpu", copy=True) for name, value in flat.items()}
        at = Progress(**asdict(progress))
        self._saving = self._thread.submit(self._write, copies, at, publish)

    def check(self) -> None:
        """Raise what a finished background save raised."""
        if self._saving is not None and self._saving.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the save under way, if any.

        Raises:
            OSError: it could not be written, e.g. for want of disk space; the message says where.
        """
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()

    def clean(self) -> None:
        """Remove what an interrupted save or removal left behind."""
        for leftover in self.folder.glob(".*.tmp"):
            shutil.rmtree(leftover)

    def newest(self) -> tuple[Path, Progress] | None:
        """The newest complete checkpoint; damaged ones are passed over by name and put aside.

        Raises:
            ValueError: there are checkpoints, but all of them are damaged.
        """
        damaged: list[tuple[Path, str]] = []
        for path in reversed(self._steps()):
            defect = find_defect(path)
            if defect is None:
                self._put_aside(damaged)
                content = json.loads((path / "state" / _PROGRESS_FILE).read_text(encoding="utf-8"))
                return path, Progress(**content)
            damaged.append((path, defect))
        if damaged:
            listed = "; ".join(f"{path}: {defect}" for path, defect in damaged)
            raise ValueError(
                f"every checkpoint of the run is damaged ({listed}); "
                "remove them to begin anew, or use another --run"
            )
        return None

    def _put_aside(self, damaged: Iterable[tuple[Path, str]]) -> None:
        """Rename, so that nobody takes a damaged checkpoint for the newest."""
        for path, defect in damaged:
            log.warning("checkpoint %s is damaged (%s); passing it over", path, defect)
            aside = path.with_name(f"damaged-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(path, aside)

    def _steps(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if _STEP.fullmatch(path.name))

    def _write(self, flat: Flat, progress: Progress, publish: Callable[[Path], object]) -> None:
        name = f"step-{progress.step:09d}"
        temporary = self.folder / f".{name}.tmp"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            (temporary / "model").mkdir(parents=True)
            with warnings.catch_warnings():  # it warns of the single process that is meant
                warnings.filterwarnings("ignore", message="torch.distributed is disabled")
                state_dict_saver.save(flat, checkpoint_id=temporary / "state", no_dist=True)
            write_json(temporary / "state" / _PROGRESS_FILE, asdict(progress))
            publish(temporary / "model")
            files = sorted(path for path in temporary.rglob("*") if path.is_file())
            listing = {str(path.relative_to(temporary)): _describe(path) for path in files}
            write_json(temporary / COMPLETE_FILE, listing)
            _flush([*files, *(path for path in temporary.rglob("*") if path.is_dir()), temporary])
            self._replace(temporary, self.folder / name)
        except (OSError, CheckpointException, SafetensorError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise OSError(
                f"checkpoint {self.folder / name} was not saved: {_cause(error)}"
            ) from error
        for old in self._steps()[: -self.keep]:
            self._remove(old)

    def _replace(self, temporary: Path, final: Path) -> None:
        if final.exists():  # saved by a signal at the very step at which it was due again
            self._remove(final)
        os.rename(temporary, final)
        _flush([self.folder])

    def _remove(self, path: Path) -> None:
        """Remove a checkpoint so that an interrupted removal leaves no half of one behind."""
        doomed = path.with_name(f".{path.name}.old.tmp")
        os.rename(path, doomed)
        shutil.rmtree(doomed)


def _cause(error: BaseException) -> str:
    """The message of an error, without the stack trace that the checkpoint library puts into it."""
    if isinstance(error, CheckpointException):
        return "; ".join(str(cause) for cause, _ in error.failures.values())
    return str(error)


def load_flat(path: Path, flat: Flat) -> None:
    """Fill the tensors of `flat` in place from a checkpoint's state.

    Raises:
        ValueError: the checkpoint lacks one of them.
    """
    stored: Mapping[str, Any] = FileSystemReader(path / "state").read_metadata().state_dict_metadata
    missing = sorted(flat.keys() - stored.keys())
    if missing:
        raise ValueError(f"{path} lacks {len(missing)} tensors of this run: {', '.join(missing)}")
    for name, value in flat.items():
        if stored[name].size != value.shape:
            raise ValueError(
                f"{path}: {name} has shape {tuple(stored[name].size)}, in this run "
                f"{tuple(value.shape)}"
            )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        state_dict_loader.load(flat, checkpoint_id=path / "state", no_dist=True)


def stored_tensors(path: Path, prefix: str) -> Flat:
    """Empty tensors for everything in a checkpoint whose name starts with `prefix`."""
    stored: Mapping[str, Any] = FileSystemReader(path / "state").read_metadata().state_dict_metadata
    return {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in stored.items()
        if name.startswith(prefix)
    }


def find_defect(path: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None."""
    try:
        listing = json.loads((path / COMPLETE_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        return f"{COMPLETE_FILE}: {error}"
    for name, expected in listing.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if _describe(file) != expected:
            return f"{name} is not as it was written"
    return None


def _describe(path: Path) -> dict[str, str | int]:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _flush(paths: Iterable[Path]) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
