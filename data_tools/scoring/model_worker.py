"""An encoder in a worker of the data tools: loaded once, on its device, with one thread.

One thread, because a sum's last bits depend on how many share it; there is a worker for each core.
"""

import functools
import multiprocessing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from data_tools.engine import Options, cores
from vlp.encoder import BaseEncoder
from vlp.errors import InputError
from vlp.loading import load

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16", "fp16"]
_WITHOUT_EFFECT = ("logit_scale", "normalize")  # of an encoder's protocol, on a cosine


@dataclass(frozen=True, kw_only=True)
class WorkerModel:
    """What a worker needs to load its model, and to prepare pictures for it."""

    source: str  # as `vlp.load` takes it
    device: Literal["cpu", "cuda"]
    precision: Precision
    threads: int  # that decode pictures, of one worker


@dataclass(frozen=True)
class Identity:
    """Which model this is, and all that decides its embeddings besides device and batch."""

    settings: Mapping[str, Any]
    width: int  # of an embedding
    context_length: int  # tokens


def plan(source: str, device: Device, precision: Precision, options: Options) -> WorkerModel:
    """The model for each worker of a run.

    On GPUs, workers take turns on the devices; on Ray a task is given no GPU.

    Raises:
        InputError: there is no GPU where one is asked for.
    """
    if device == "cuda" and options.executor == "ray":
        raise InputError("--device cuda: a task of Ray gets no GPU here; give --executor process")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: this machine has no usable GPU; choices are auto, cpu")
    on_gpu = device != "cpu" and options.executor != "ray" and torch.cuda.is_available()
    model = WorkerModel(
        source=source, device="cuda" if on_gpu else "cpu", precision=precision, threads=1
    )
    threads = max(1, cores() // workers_for(model, options))
    return WorkerModel(source=source, device=model.device, precision=precision, threads=threads)


def workers_for(model: WorkerModel, options: Options) -> int:
    """Processes to use: one for each GPU or core where the user names no number."""
    if options.executor == "serial":
        return 1
    return options.workers or (torch.cuda.device_count() if model.device == "cuda" else cores())


def identify(model: WorkerModel) -> Identity:
    """Load a model once, on the CPU, to know which it is.

    Raises:
        InputError: it cannot be loaded.
    """
    encoder = load(model.source, "cpu", model.precision)
    protocol = {k: v for k, v in encoder.protocol.items() if k not in _WITHOUT_EFFECT}
    return Identity(
        settings={"model": encoder.fingerprint, **protocol},
        width=int(encoder.encode_text(["a"]).shape[1]),
        context_length=encoder.context_length,
    )


def loaded(model: WorkerModel) -> BaseEncoder:
    """The encoder of this process, loaded at the first call."""
    torch.set_num_threads(1)
    return _cached(model.source, _own_device(model), model.precision)


@functools.cache
def _cached(source: str, device: str, precision: str) -> BaseEncoder:
    torch.backends.cudnn.allow_tf32 = False  # otherwise "fp32" convolutions have ten bits
    return load(source, device, precision)


def _own_device(model: WorkerModel) -> str:
    if model.device == "cpu":
        return "cpu"
    place = multiprocessing.current_process()._identity or (1,)  # of the parent's n-th child
    return f"cuda:{(place[0] - 1) % torch.cuda.device_count()}"
