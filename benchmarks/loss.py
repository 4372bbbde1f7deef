"""Memory, time and communication of the contrastive loss, side by side with its peers.

    python benchmarks/loss.py [--batch 8192] [--width 512] [--rounds 5] [--threads 2]

Forward and backward of CLIP's loss with gradients for both towers and the scale, in float32:

    ours        vlp.ops.contrastive_loss
    open_clip   open_clip.loss.ClipLoss
    torch       torch.nn.functional.linear_cross_entropy in chunks (its own choice of them), once
                for each direction; left out where the installed torch has none

They take turns, and every turn is a process of its own. Peak memory is what the first loss adds at
most to the resident memory (VmHWM, set back right before it; gradients of the features included,
the features themselves not); seconds, on the clock and of all cores together, are the median of
three more.

Communication is what a rank sends on two gloo ranks, ours (texts gathered with gradient, then
vlp.ops.sharded_contrastive_loss) against ClipLoss(local_loss=True, gather_with_grad=True). The
calls of torch.distributed are counted by what a ring sends: all_gather of b bytes a rank (W-1)·b,
reduce_scatter of b bytes in all (W-1)/W·b, all_reduce 2·(W-1)/W·b, and scatter, in which gloo takes
the place of reduce_scatter for the peer, (W-1)·b of b bytes a rank at the one that sends.
"""

import os

# Idle threads sleep, for all alike: turning in circles they would slow a machine that others share.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import gc
import platform
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jsonargparse import auto_cli
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from open_clip.loss import ClipLoss

from vlp.ops import contrastive_loss, sharded_contrastive_loss
from vlp.sources import gather
from vlp.sources.gather import gather_with_gradient

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
RANKS = 2


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is the same for all."""

    batch: int
    width: int
    threads: int
    scale: float


def in_chunks(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """CLIP's loss from torch's own fused cross-entropy, a direction at a time."""
    targets, options = torch.arange(len(image)), torch.nn.LinearCrossEntropyOptions()
    one = F.linear_cross_entropy(scale * image, text, targets, options=options)
    return 0.5 * (one + F.linear_cross_entropy(scale * text, image, targets, options=options))


def losses() -> dict[str, Loss]:
    found: dict[str, Loss] = {"ours": contrastive_loss, "open_clip": ClipLoss()}
    if hasattr(torch.nn, "LinearCrossEntropyOptions"):
        found["torch"] = in_chunks
    return found


def leaves(setting: Setting, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features of unit length and a scale, to differentiate by; the same in every process."""
    generator = torch.Generator().manual_seed(0)
    image, noise = (torch.randn(rows, setting.width, generator=generator) for _ in range(2))
    text = F.normalize(noise + image, dim=1)
    found = F.normalize(image, dim=1), text, torch.tensor(setting.scale)
    return tuple(tensor.requires_grad_() for tensor in found)  # type: ignore[return-value]


def resident(field: str) -> int:
    """Bytes of this process, now (VmRSS) or at most since set back (VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


def seconds(loss: Loss, tensors: tuple[Tensor, Tensor, Tensor]) -> tuple[float, float]:
    """Of forward and backward: on the clock, and of all cores."""
    begin, busy = time.perf_counter(), time.process_time()
    loss(*tensors).backward()  # type: ignore[no-untyped-call]
    taken = time.perf_counter() - begin, time.process_time() - busy
    for tensor in tensors:
        tensor.grad = None
    return taken


def measure(name: str, setting: Setting) -> dict[str, float]:
    """Peak memory and seconds; to be run in a fresh process."""
    torch.set_num_threads(setting.threads)
    loss = losses()[name]
    seconds(loss, leaves(setting, 640))  # threads and their workspaces come up
    tensors = leaves(setting, setting.batch)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM becomes VmRSS
    before = resident("VmRSS")
    seconds(loss, tensors)
    peak = (resident("VmHWM") - before) / 2**20
    clock, cores = zip(*(seconds(loss, tensors) for _ in range(3)), strict=True)
    return {
        "peak MiB": peak,
        "seconds": statistics.median(clock),
        "CPU seconds": statistics.median(cores),
    }


@contextmanager
def counting() -> Iterator[dict[str, float]]:
    """What this rank sends meanwhile, in bytes by the kind of collective."""
    ranks, rank = dist.get_world_size(), dist.get_rank()
    sent: dict[str, float] = {}

    def gathered(out: Any, own: Tensor, *_: Any) -> float:  # noqa: ANN401 (any collective's)
        return (ranks - 1) * own.nbytes

    def scattered(own: Tensor, whole: Tensor, *_: Any) -> float:  # noqa: ANN401
        return (ranks - 1) / ranks * whole.nbytes

    def reduced(whole: Tensor, *_: Any) -> float:  # noqa: ANN401
        return 2 * (ranks - 1) / ranks * whole.nbytes

    def dealt(own: Tensor, parts: Any, source: int, *_: Any) -> float:  # noqa: ANN401
        return (source == rank) * (ranks - 1) * own.nbytes

    def counted(kind: str, rule: Callable[..., float], call: Callable[..., Any]) -> Any:  # noqa: ANN401
        def both(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            sent[kind] = sent.get(kind, 0.0) + rule(*args)
            return call(*args, **kwargs)

        return both

    # gather keeps the functions that it found when it was imported: torch's names are not asked
    places = [
        (gather, "_all_gather", "all_gather", gathered),
        (gather, "_reduce_scatter", "reduce_scatter", scattered),
        (dist, "all_gather", "all_gather", gathered),
        (dist, "all_gather_into_tensor", "all_gather", gathered),
        (dist, "all_gather_single", "all_gather", gathered),
        (dist, "reduce_scatter_tensor", "reduce_scatter", scattered),
        (dist, "reduce_scatter_single", "reduce_scatter", scattered),
        (dist, "all_reduce", "all_reduce", reduced),
        (dist, "scatter", "scatter", dealt),
    ]
    with ExitStack() as stack:
        for module, name, kind, rule in places:
            if module is gather or hasattr(dist, name):  # torch before 2.14 has no *_single
                call = counted(kind, rule, getattr(module, name))
                stack.enter_context(mock.patch.object(module, name, call))
        yield sent


def sharded(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    targets = torch.arange(len(image)) + dist.get_rank() * len(image)
    return sharded_contrastive_loss(image, gather_with_gradient(text), scale, targets)


# Collectives of each loss, on gloo: one that is not seen is one that is not counted.
KINDS = {
    "ours": {"all_gather", "reduce_scatter", "all_reduce"},
    "open_clip": {"all_gather", "scatter"},
}


def sent_by(name: str, setting: Setting) -> dict[str, float]:
    """Bytes by collective of one loss, forward and backward, on this rank of a group."""
    place = {"rank": dist.get_rank(), "world_size": dist.get_world_size()}
    peer = ClipLoss(local_loss=True, gather_with_grad=True, **place)
    loss: Loss = sharded if name == "ours" else peer
    with counting() as sent:
        seconds(loss, leaves(setting, setting.batch // dist.get_world_size()))
    if sent.keys() != KINDS[name]:
        raise RuntimeError(
            f"{name} sends by {sorted(KINDS[name])}, but {sorted(sent)} were counted"
        )
    return sent


def bytes_sent(name: str, setting: Setting, rank: int, port: int) -> float:
    """Of one loss on this rank; to be run in a fresh process."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=RANKS)
    sent = sent_by(name, setting)
    dist.destroy_process_group()
    return sum(sent.values())


def fresh(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, get_context("spawn"), max_tasks_per_child=1)


def print_ratios(found: dict[str, list[dict[str, float]]]) -> None:
    print(f"\n{'':>10} {'':>11} {'median':>9}  turns")
    for unit in found["ours"][0]:
        values = {name: [turn[unit] for turn in turns] for name, turns in found.items()}
        for name, turns in values.items():
            shown = ", ".join(f"{value:.2f}" for value in turns)
            print(f"{name:>10} {unit:>11} {statistics.median(turns):9.2f}  ({shown})")
        for peer in list(values)[1:]:
            ratios = [a / b for a, b in zip(values["ours"], values[peer], strict=True)]
            print(
                f"ours / {peer}, {unit}: median {statistics.median(ratios):.3f} "
                f"({min(ratios):.3f} to {max(ratios):.3f})"
            )


def main(
    batch: int = 8192, width: int = 512, rounds: int = 5, threads: int = 2, scale: float = 100.0
) -> None:
    """Measure and print.

    Args:
        batch: pairs.
        width: numbers of a feature.
        rounds: turns of each loss.
        threads: of each process.
        scale: factor of the logits.
    """
    setting = Setting(batch=batch, width=width, threads=threads, scale=scale)
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {setting}")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in losses()}
    for turn in range(rounds):
        for name, turns in found.items():
            with fresh(1) as process:
                turns.append(process.submit(measure, name, setting).result())
            shown = ", ".join(f"{value:.2f} {unit}" for unit, value in turns[-1].items())
            print(f"turn {turn + 1} of {rounds}: {name:>10} {shown}", flush=True)
    print_ratios(found)
    sent = {}
    for name in ("ours", "open_clip"):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with fresh(RANKS) as processes:
            ranks = [processes.submit(bytes_sent, name, setting, r, port) for r in range(RANKS)]
            sent[name] = max(rank.result() for rank in ranks)
        print(f"{name:>10} sends {sent[name] / 2**20:.2f} MiB a rank on {RANKS} ranks")
    print(f"ours / open_clip, sent: {sent['ours'] / sent['open_clip']:.3f}")


if __name__ == "__main__":
    auto_cli(main)
