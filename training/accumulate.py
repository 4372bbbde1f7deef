"""A large batch in small passes, with the gradients of one pass.

GradCache (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup"): (1) encode in micro-batches without gradient; (2) take the objectives that look at the
whole batch on all features at once, and their gradients with respect to the features; (3) encode
each micro-batch again, with gradient and with the same random state, and push the cached feature
gradients through it. Objectives that look at single samples run in (3). Averaging the losses of
micro-batches instead would train on smaller batches; recomputing the loss per micro-batch, as
open_clip does, multiplies the temperature's gradient by their number.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.step import DATA_SIGNALS, TrainStep
from vlp.dist import active, world_size
from vlp.signals import Signals, as_signals

RandomState = tuple[Tensor, ...]  # of the CPU, where patch dropout draws, and of the device
Scaled = Callable[[Tensor], Tensor]  # the loss scaling of fp16; the identity otherwise


def backward_in_passes(
    step: TrainStep, signals: Signals, micro_batch: int, scaled: Scaled
) -> dict[str, Tensor]:
    """Add the gradients of the whole batch to the parameters, averaged over ranks.

    Args:
        step: not wrapped by DDP: gradients are reduced here, once.
        signals: of the whole local batch.
        micro_batch: rows per pass.
        scaled: applied to what is differentiated.

    Returns:
        The losses by name and `total`, without gradient.
    """
    parts = list(_split(signals, micro_batch))
    cached, states = _encode_all(step, parts)
    batch_names = [n for n in step.objectives if step.objective(n).scope == "batch"]
    sample_names = [n for n in step.objectives if step.objective(n).scope == "sample"]

    leaves = {
        name: value.detach().requires_grad_()
        for name, value in cached.items()
        if name in step.model.provides and name != "scale"
    }
    whole = as_signals({**signals, **leaves, "scale": step.model.scale})  # type: ignore[dict-item]
    found: dict[str, Tensor] = {}
    if batch_names:
        losses = step.losses(whole, batch_names)
        scaled(losses["total"]).backward()  # type: ignore[no-untyped-call]
        found = {name: losses[name].detach() for name in batch_names}

    begin = 0
    for part, state in zip(parts, states, strict=True):
        rows = len(part["pixels"])
        with _random_state(state, part["pixels"].device):
            encoded = step.encode(part)
        surrogate = _push(encoded, leaves, begin)
        if sample_names:
            losses = step.losses(encoded, sample_names, with_sources=False)
            share = rows / len(signals["pixels"])
            surrogate = surrogate + scaled(losses["total"] * share)
            for name in sample_names:
                found[name] = found.get(name, 0.0) + losses[name].detach() * share
        surrogate.backward()  # type: ignore[no-untyped-call]
        begin += rows
    _average_gradients(step)
    return {**found, "total": step.weighted(found)}


def _split(signals: Signals, micro_batch: int) -> Iterator[Signals]:
    tensors = {name: cast(Tensor, signals[name]) for name in signals}  # type: ignore[literal-required]
    chunks = {name: value.split(micro_batch) for name, value in tensors.items()}  # type: ignore[no-untyped-call]
    for i in range(len(chunks["pixels"])):
        yield as_signals({name: chunk[i] for name, chunk in chunks.items()})


@torch.no_grad()
def _encode_all(
    step: TrainStep, parts: list[Signals]
) -> tuple[dict[str, Tensor], list[RandomState]]:
    """Features of the whole batch, and the random state before each pass.

    Buffers (batch-norm statistics) are put back: the passes with gradient update them again.
    """
    buffers = [buffer.clone() for buffer in step.model.buffers()]
    states, encoded = [], []
    for part in parts:
        states.append(_get_random_state(part["pixels"].device))
        encoded.append(step.encode(part))
    for buffer, before in zip(step.model.buffers(), buffers, strict=True):
        buffer.copy_(before)
    names = [name for name in encoded[0] if name not in DATA_SIGNALS and name != "scale"]
    return {name: torch.cat([e[name] for e in encoded]) for name in names}, states  # type: ignore[literal-required]


def _push(encoded: Signals, leaves: dict[str, Tensor], begin: int) -> Tensor:
    """A scalar whose gradient is the cached gradient of these rows' features."""
    total = encoded["image"].sum() * 0.0
    for name, leaf in leaves.items():
        value: Tensor = encoded[name]  # type: ignore[literal-required]
        if leaf.grad is not None:
            total = total + (value * leaf.grad[begin : begin + len(value)]).sum()
    return total


def _get_random_state(device: torch.device) -> RandomState:
    cpu = torch.get_rng_state()
    return (cpu, torch.cuda.get_rng_state(device)) if device.type == "cuda" else (cpu,)


def _set_random_state(state: RandomState, device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)


@contextmanager
def _random_state(state: RandomState, device: torch.device) -> Iterator[None]:
    """Run with an earlier random state, so that dropout falls as it did."""
    after = _get_random_state(device)
    _set_random_state(state, device)
    try:
        yield
    finally:
        _set_random_state(after, device)


def _average_gradients(module: nn.Module) -> None:
    if not active():
        return
    for parameter in module.parameters():
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= world_size()
