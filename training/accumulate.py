"""A large batch in small passes, with the gradients of one pass.

GradCache (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup"): (1) encode in micro-batches without gradient; (2) take the objectives that look at the
whole batch on all features at once, and their gradients with respect to the features; (3) encode
each micro-batch again, with gradient and with the same random state, and push the cached feature
gradients through it. Objectives that look at single samples run in (3). Averaging the losses of
micro-batches instead would train on smaller batches; recomputing the loss per micro-batch, as
open_clip does, multiplies the temperature's gradient by their number.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.step import SCALARS, TrainStep
from vlp.data.texts import pack
from vlp.dist import active, global_sum, world_size
from vlp.signals import Signals, as_signals, get

RandomState = tuple[Tensor, ...]  # of the CPU, where patch dropout draws, and of the device
Scaled = Callable[[Tensor], Tensor]  # the loss scaling of fp16; the identity otherwise


def split(rows: Mapping[str, Tensor], micro_batch: int | None) -> list[Signals]:
    """The passes of a local batch, each with its texts packed.

    Args:
        rows: tensors [B, ...] of the whole local batch, on the CPU.
        micro_batch: rows per pass; all in one without it.
    """
    size = micro_batch or len(rows["pixels"])
    chunks = {name: value.split(size) for name, value in rows.items()}  # type: ignore[no-untyped-call]
    return [
        as_signals(pack({name: chunk[i] for name, chunk in chunks.items()}))
        for i in range(len(chunks["pixels"]))
    ]


def backward_in_passes(
    step: TrainStep, parts: Sequence[Signals], scaled: Scaled
) -> dict[str, Tensor]:
    """Add the gradients of the whole batch to the parameters, of this rank alone.

    Args:
        step: not wrapped by DDP: gradients are to be averaged over ranks afterwards, once.
        parts: the passes, see `split`.
        scaled: applied to what is differentiated.

    Returns:
        The losses by name and `total`, without gradient.
    """
    batch_names = [n for n in step.objectives if step.objective(n).scope == "batch"]
    sample_names = [n for n in step.objectives if step.objective(n).scope == "sample"]
    wanted = step.needs(batch_names)
    cached: dict[str, Tensor] = {}
    states: list[RandomState | None] = [None] * len(parts)
    if batch_names:
        cached, states = _encode_all(step, parts, wanted)
    trained = step.model.provides_with(step.data)
    leaves = {n: v.detach().requires_grad_() for n, v in cached.items() if n in trained}
    found: dict[str, Tensor] = {}
    if batch_names:  # everything that compares samples, once, on the features of all passes
        scalars = {name: getattr(step.model, name) for name in sorted(SCALARS & wanted)}
        whole = as_signals({**_data(step, parts, wanted), **cached, **leaves, **scalars})
        losses = step.losses(whole, batch_names)
        scaled(losses["total"]).backward()  # type: ignore[no-untyped-call]
        found = {name: losses[name].detach() for name in batch_names}

    shares = {name: _shares(step, name, parts) for name in sample_names}
    replayed = frozenset(leaves) | step.needs(sample_names)  # a teacher's features are cached
    begin = 0
    for i, (part, state) in enumerate(zip(parts, states, strict=True)):
        with _random_state(state, part["pixels"].device):
            encoded = step.encode(part, replayed)
        surrogate = _push(encoded, leaves, begin) + step.idle(encoded)
        if sample_names:
            losses = step.losses(encoded, sample_names, with_sources=False)
            weighed = {name: losses[name] * shares[name][i] for name in sample_names}
            surrogate = surrogate + scaled(step.weighted(weighed))
            for name, loss in weighed.items():
                found[name] = found.get(name, 0.0) + loss.detach()
        if surrogate.requires_grad:
            surrogate.backward()  # type: ignore[no-untyped-call]
        begin += len(part["pixels"])
    return {**found, "total": step.weighted(found)}


def _shares(step: TrainStep, name: str, parts: Sequence[Signals]) -> list[Tensor | float]:
    """How much each pass counts in the mean of an objective that looks at single samples.

    By rows, or by what the objective counts, over all ranks: it has weighed a pass by its own
    global number. What is counted is known from the data alone.
    """
    counts = [step.objective(name).items(step.countable(part)) for part in parts]
    if any(count is None for count in counts):
        rows = [len(part["pixels"]) for part in parts]
        return [r / sum(rows) for r in rows]
    every = global_sum(torch.stack([c.float() for c in counts if c is not None]))
    return list((every / every.sum().clamp(min=1)).unbind())


def _data(step: TrainStep, parts: Sequence[Signals], wanted: frozenset[str]) -> dict[str, Tensor]:
    """The wanted data of all passes."""
    found = {}
    for name in sorted((step.data & wanted) - {"step"}):  # which `losses` adds
        values = [get(part, name) for part in parts]
        found[name] = torch.cat(values) if values[0].ndim else values[0]
    return found


@torch.no_grad()
def _encode_all(
    step: TrainStep, parts: Sequence[Signals], wanted: frozenset[str]
) -> tuple[dict[str, Tensor], list[RandomState | None]]:
    """Features of the whole batch that are wanted, and the random state before each pass.

    Buffers (batch-norm statistics) are put back: the passes with gradient update them again.
    """
    buffers = [buffer.clone() for buffer in step.model.buffers()]
    states: list[RandomState | None] = []
    encoded: list[dict[str, Tensor]] = []
    for part in parts:
        states.append(_get_random_state(part["pixels"].device))
        all_signals = step.encode(part, wanted)
        names = (wanted | {"image"}) & all_signals.keys() - step.data - SCALARS
        encoded.append({name: get(all_signals, name) for name in sorted(names)})
    for buffer, before in zip(step.model.buffers(), buffers, strict=True):
        buffer.copy_(before)
    return {name: torch.cat([e[name] for e in encoded]) for name in encoded[0]}, states


def _push(encoded: Signals, leaves: dict[str, Tensor], begin: int) -> Tensor:
    """A scalar whose gradient is the cached gradient of these rows' features."""
    total = encoded["image"].new_zeros(())
    for name, leaf in leaves.items():
        value = get(encoded, name)
        if leaf.grad is not None and value.requires_grad:
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
def _random_state(state: RandomState | None, device: torch.device) -> Iterator[None]:
    """Run with an earlier random state, so that dropout falls as it did; None leaves it."""
    if state is None:
        yield
        return
    after = _get_random_state(device)
    _set_random_state(state, device)
    try:
        yield
    finally:
        _set_random_state(after, device)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """The mean over ranks of gradients that nothing else reduces."""
    if not active():
        return
    for parameter in parameters:
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= world_size()
