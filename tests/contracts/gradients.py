"""Gradients and two steps of every objective on this process group, to a file; run by torchrun."""

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel

from training.accumulate import average_gradients, backward_in_passes, split
from training.step import TrainStep
from vlp.dist import rank, world_size
from vlp.model import CaptionerConfig, ModelConfig, build_model
from vlp.objectives import (
    CWCL,
    DCL,
    Alignment,
    Captioning,
    Counting,
    CrossUniformity,
    Distillation,
    InfoNCE,
    Objective,
    Sigmoid,
    SogCLR,
    Uniformity,
)
from vlp.objectives.distillation import Terms
from vlp.objectives.infonce import Variant
from vlp.objectives.mixing import Mixing
from vlp.objectives.sogclr import Individual
from vlp.signals import Signals
from vlp.sources import Gather, Momentum

BATCH, VOCABULARY, LENGTH = 24, 300, 8  # the batch is divisible by 1, 2 and 3 ranks
MICRO = (None, 3, 5)
ARCH = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8},
    "text_cfg": {"context_length": LENGTH, "vocab_size": VOCABULARY, "width": 16, "heads": 2}
    | {"layers": 1},
}


class Stretched(Objective):
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


def mixtures() -> dict[str, Callable[[], dict[str, Objective]]]:
    """Every exported objective with its defaults, with each option, and what goes together."""
    alone = {
        "InfoNCE": InfoNCE,
        "InfoNCE smoothed sum": lambda: InfoNCE(
            label_smoothing=0.2, weight=0.7, variant=Variant(directions="sum")
        ),
        "InfoNCE fixed": lambda: InfoNCE(temperature=0.1),
        "InfoNCE hard captions": lambda: InfoNCE(hard_captions=True),
        "InfoNCE every caption": lambda: InfoNCE(
            label_smoothing=0.1, variant=Variant(every_caption=True)
        ),
        "InfoNCE hardest": lambda: InfoNCE(variant=Variant(hardest=0.3)),
        "InfoNCE mixing": lambda: InfoNCE(
            variant=Variant(mixing=Mixing(pairs=3, with_query=2, among=5))
        ),
        "InfoNCE duplicates": lambda: InfoNCE(ignore_duplicates=True),
        "InfoNCE every option": lambda: InfoNCE(
            hard_captions=True,
            ignore_duplicates=True,
            label_smoothing=0.1,
            variant=Variant(hardest=0.8, mixing=Mixing(pairs=2)),
        ),
        "Sigmoid": Sigmoid,
        "Sigmoid duplicates": lambda: Sigmoid(ignore_duplicates=True),
        "Uniformity": Uniformity,
        "CrossUniformity": CrossUniformity,
        "Alignment": Alignment,
        "Counting": Counting,
        "Counting scaled": lambda: Counting(scale="model"),
        "Counting all": lambda: Counting(scale=5.0, variant="all"),
        "Captioning": Captioning,
        "Captioning smoothed": lambda: Captioning(label_smoothing=0.1),
        "CWCL": CWCL,
        "CWCL text exp": lambda: CWCL(locked="text", kernel="exp"),
        "DCL": DCL,
        "DCL weighted": lambda: DCL(sigma=0.5, temperature=0.2),
        "SogCLR": SogCLR,
        "SogCLR individual": lambda: SogCLR(individual=Individual(), temperature=0.1),
        "Distillation": Distillation,
        "Distillation all": lambda: Distillation(
            teacher="same",
            terms=Terms(feature=2.0, interactive=1.0),
            student_temperature=0.1,
        ),
        "Distillation momentum": lambda: Distillation(teacher="momentum", temperature=0.1),
        "Stretched": Stretched,
    }
    together = {
        "CUAXU": [InfoNCE, Uniformity, CrossUniformity, Alignment],
        "CoCa": [InfoNCE, Captioning],
        "counting": [lambda: InfoNCE(hard_captions=True), alone["Counting scaled"], Stretched],
        "SigLIP and CoCa": [Sigmoid, Captioning, Alignment],
        # exp(h / 0.01) of the default temperature magnifies the last bits of features
        "everything": [make for name, make in alone.items() if name != "SogCLR"],
    }
    found = {name: lambda make=make: {"it": make()} for name, make in alone.items()}
    for name, makes in together.items():
        found[name] = lambda makes=makes: {str(i): make() for i, make in enumerate(makes)}
    return found


def rows(seed: int) -> dict[str, torch.Tensor]:
    """This rank's rows of one global batch; only the last ranks have counts and hard captions."""
    random = torch.Generator().manual_seed(seed)

    def tokens(*shape: int) -> torch.Tensor:
        found = torch.randint(1, VOCABULARY - 1, (*shape, LENGTH), generator=random)
        ends = torch.randint(2, LENGTH, shape, generator=random)[..., None]
        places = torch.arange(LENGTH)
        found = torch.where(places < ends, found, 0)
        return torch.where(places == ends, VOCABULARY - 1, found)

    def unit(width: int) -> torch.Tensor:
        return F.normalize(torch.randn(BATCH, width, generator=random), dim=-1)

    late = torch.arange(BATCH) >= 17
    ids = torch.randperm(40, generator=random)[:BATCH]
    ids[3] = ids[20]  # a sample that is in the batch twice
    captions = torch.arange(BATCH)
    captions[5] = captions[22]
    whole = {
        "pixels": torch.randint(0, 256, (BATCH, 3, 16, 16), generator=random, dtype=torch.uint8),
        "tokens": tokens(BATCH),
        "sample_id": ids,
        "caption_id": captions,
        "image_id": ids,
        "hard_tokens": tokens(BATCH, 2),
        "hard_mask": late[:, None] & torch.tensor([True, False]) | (captions == 0)[:, None],
        "counter_tokens": tokens(BATCH),
        "counter_mask": late,
        "number_tokens": tokens(BATCH, 8),
        "number_mask": late[:, None].expand(-1, 8),
        "more_tokens": tokens(BATCH, 1),
        "more_mask": torch.ones(BATCH, 1, dtype=torch.bool),
        **{f"{name}_{side}": unit(width) for name, width in (("teacher", 24), ("same", 16))
           for side in ("image", "text")},
    }  # fmt: skip
    own = slice(rank() * BATCH // world_size(), (rank() + 1) * BATCH // world_size())
    return {name: value[own] for name, value in whole.items()}


DATA = frozenset(
    {"caption_id", "image_id", "hard_mask", "counter_mask", "number_mask", "more_mask"}
    | {f"{name}_{side}" for name in ("teacher", "same") for side in ("image", "text")}
)


def make_step(arch: str, name: str) -> TrainStep:
    torch.manual_seed(0)
    config = ModelConfig(
        arch=arch, init_logit_bias=-2.0, captioner=CaptionerConfig(layers=1, heads=2)
    )
    model = build_model(config)
    objectives = mixtures()[name]()
    needs = frozenset().union(*(o.needs for o in objectives.values()))
    sources = []
    if "momentum_image" in needs:
        momentum = Momentum("momentum", model, decay=0.5, autocast=nullcontext)
        with torch.no_grad():
            for parameter in momentum.parameters():
                parameter.mul_(1.1)
        sources.append(momentum)
    gather = Gather(needs)
    if needs & gather.provides:
        sources.append(gather)
    return TrainStep(model, sources, objectives, nullcontext, DATA)


def backward(step: TrainStep, wrapped: torch.nn.Module, seed: int, micro: int | None):
    """The loss of this rank, with the gradients of the global batch in the parameters."""
    step.number = seed
    parts = split(rows(seed), micro)
    if micro is not None:
        total = backward_in_passes(step, parts, lambda loss: loss)["total"]
        average_gradients(step.parameters())
    else:
        total = wrapped(parts[0])["total"]
        total.backward()
    return total.detach()


def compute(arch: str, name: str, micro: int | None) -> dict[str, torch.Tensor]:
    """Gradients of the first step, its loss, and the state after two steps of SGD."""
    step = make_step(arch, name)
    wrapped = step
    if world_size() > 1 and micro is None:
        buffers = [n for n, _ in step.named_buffers() if n.startswith("objectives.")]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(step, buffers)
        wrapped = DistributedDataParallel(step)
    optimizer = torch.optim.SGD(step.parameters(), lr=0.005)
    found = {}
    for seed in (1, 2):
        mean = backward(step, wrapped, seed, micro)
        if world_size() > 1:
            dist.all_reduce(mean)
            mean /= world_size()
        if seed == 1:
            gradients = step.named_parameters()
            found = {f"grad {n}": p.grad.clone() for n, p in gradients if p.grad is not None}
            found["loss"] = mean
        optimizer.step()
        optimizer.zero_grad()
        step.after_step()
    return found | {f"state {n}": v.clone() for n, v in step.state_dict().items()}


def main(output: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    arch = Path(output).with_suffix(".json")
    if rank() == 0:
        arch.write_text(json.dumps(ARCH))
    dist.barrier()
    found = {
        (name, micro): compute(str(arch), name, micro) for name in mixtures() for micro in MICRO
    }
    if rank() == 0:
        torch.save(found, Path(output))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
