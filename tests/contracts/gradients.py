"""Gradients of every objective on this process group, to a file; started by torchrun."""

import sys
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import vlp.objectives
from training.accumulate import backward_in_passes
from training.step import TrainStep
from vlp.dist import rank, world_size
from vlp.model import ModelConfig, build_model
from vlp.objectives import Objective
from vlp.signals import Signals
from vlp.sources import Gather

BATCH = 12  # divisible by 1, 2 and 3 ranks


class Alignment(Objective):
    """A user's objective that looks at single rows and trains a parameter of its own."""

    scope = "sample"

    def __init__(self) -> None:
        super().__init__(weight=0.3)
        self.stretch = torch.nn.Parameter(torch.tensor(1.5))

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"image", "text"})

    def forward(self, signals: Signals) -> torch.Tensor:
        return (signals["image"] - self.stretch * signals["text"]).square().sum(dim=1).mean()


def mixtures() -> dict[str, dict[str, Objective]]:
    """Every exported objective with its defaults, with options, and beside another one."""
    names = [name for name in vlp.objectives.__all__ if name != "Objective"]
    found = {name: {"it": getattr(vlp.objectives, name)()} for name in names}
    smoothed = vlp.objectives.InfoNCE(weight=0.7, label_smoothing=0.2)
    return {
        **found,
        "InfoNCE smoothed": {"it": smoothed},
        "InfoNCE + rows": {"it": vlp.objectives.InfoNCE(), "rows": Alignment()},
    }


def signals() -> dict[str, torch.Tensor]:
    """This rank's rows of one fixed global batch."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (BATCH, 3, 16, 16), generator=generator, dtype=torch.uint8)
    tokens = torch.randint(1, 400, (BATCH, 8), generator=generator)
    tokens[:, -1] = 49407
    rows = slice(rank() * BATCH // world_size(), (rank() + 1) * BATCH // world_size())
    return {
        "pixels": pixels[rows],
        "tokens": tokens[rows],
        "sample_id": torch.arange(BATCH)[rows],
    }


def gradients(arch: str, name: str, micro_batch: int | None) -> dict[str, torch.Tensor]:
    """Every parameter's gradient, and the loss as `loss`."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(arch=arch))
    step = TrainStep(model, [Gather()], mixtures()[name], nullcontext)
    if micro_batch is not None:
        total = backward_in_passes(step, signals(), micro_batch, lambda loss: loss)["total"]
    else:
        wrapped = DistributedDataParallel(step) if world_size() > 1 else step
        total = wrapped(signals())["total"]
        total.backward()
    mean = total.detach().clone()
    if world_size() > 1:
        dist.all_reduce(mean)
        mean /= world_size()
    found = {n: p.grad for n, p in step.named_parameters() if p.grad is not None}
    return {**found, "loss": mean}


def main(arch: str, output: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = {
        (name, micro): gradients(arch, name, micro)
        for name in mixtures()
        for micro in (None, 1, 3, 5)
    }
    if rank() == 0:
        torch.save(found, Path(output))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
