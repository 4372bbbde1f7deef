"""Training throughput and MFU on one GPU, side by side with open_clip.

    python benchmarks/gpu.py [--archs ViT-B-32,ViT-B-16] [--batch 1024] [--steps 12]

Needs this repository, torch >= 2.11 and its dependencies; no data, no network. For each tower the
same step (bf16 autocast, AdamW, the global-batch InfoNCE) runs with random pictures and captions of
realistic length: open_clip's model and `ClipLoss` as its trainer joins them, and ours, eager and
compiled, in turns. Rows are JSON lines:

    ours 77       our step on captions padded to 77 tokens: equal work
    ours          our step as it trains: captions cut at the batch's longest
    ours NAME     the same with another set of objectives (a captioning decoder, hard captions, ...)
    loss ...      forward and backward of the contrastive losses alone: time, peak memory, and the
                  largest relative error of a gradient against float64 on a part of the batch
    classifier, ranks, probe, geometry    of the evaluation, see `benchmarks/gpu_eval.py`
    score, detect, rewrite    of the data tools, see `benchmarks/gpu_data.py`
    features, embed, background    of checkpoints in use, see `benchmarks/gpu_retrieval.py`

`pairs_per_second` is the median over the turns; compile time is reported apart. `mfu` is executed
floating-point operations over the card's bf16 peak, measured by a large matrix product in this run.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from jsonargparse import auto_cli
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

import open_clip
from open_clip.loss import ClipLoss, SigLipLoss

from benchmarks.gpu_data import measure_data_tools
from benchmarks.gpu_eval import measure_evaluation
from benchmarks.gpu_retrieval import measure_retrieval
from training.accumulate import split
from training.config import OptimConfig
from training.optim import build_optimizer, update
from training.step import TrainStep
from vlp.model import CaptionerConfig, ModelConfig, build_model
from vlp.objectives import (
    Alignment,
    Captioning,
    CrossUniformity,
    InfoNCE,
    Objective,
    Sigmoid,
    SogCLR,
    Uniformity,
)
from vlp.objectives.sogclr import Individual
from vlp.ops import contrastive_loss, sigmoid_loss
from vlp.signals import as_signals, get
from vlp.sources import Gather

CAPTION_TOKENS = 22  # longest of a batch of alt-texts is more; of written captions about this
Step = Callable[[], Tensor]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is the same on both sides."""

    arch: str
    batch: int
    device: torch.device
    precision: torch.dtype | None

    def autocast(self) -> torch.autocast | nullcontext[None]:
        if self.precision is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision)


def captions(setting: Setting, length: int) -> Tensor:
    """Random token rows whose end token stands within `length`, [batch, 77]."""
    tokens = torch.zeros(setting.batch, 77, dtype=torch.long)
    tokens[:, : length - 1] = torch.randint(1, 49000, (setting.batch, length - 1))
    tokens[:, length - 1] = 49407
    return tokens.to(setting.device)


def open_clip_step(setting: Setting, *, compiled: bool) -> Step:
    """The step of open_clip's trainer: float pictures, padded captions, ClipLoss, AdamW."""
    model = open_clip.create_model(setting.arch, output_dict=True).to(setting.device).train()
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if p.ndim < 2 or "bias" in n], "weight_decay": 0.0},
        {"params": [p for n, p in named if p.ndim >= 2 and "bias" not in n], "weight_decay": 0.2},
    ]
    optimizer = torch.optim.AdamW(groups, lr=5e-4, betas=(0.9, 0.98), eps=1e-6)
    size = model.visual.image_size[0]
    pictures = torch.randn(setting.batch, 3, size, size, device=setting.device)
    tokens = captions(setting, CAPTION_TOKENS)
    forward: nn.Module = torch.compile(model) if compiled else model
    loss_of = ClipLoss()

    def step() -> Tensor:
        optimizer.zero_grad()
        with setting.autocast():
            out = forward(pictures, tokens)
            loss: Tensor = loss_of(out["image_features"], out["text_features"], out["logit_scale"])
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, 4.6052)
        return loss

    return step


MIXTURES: Mapping[str, Callable[[], dict[str, Objective]]] = {
    "InfoNCE": lambda: {"contrastive": InfoNCE()},
    "SigLIP": lambda: {"contrastive": Sigmoid()},
    "CUAXU": lambda: {"a": InfoNCE(), "b": Uniformity(), "c": CrossUniformity(), "d": Alignment()},
    "iSogCLR": lambda: {"contrastive": SogCLR(individual=Individual(), samples=2**20)},
    "NegCLIP": lambda: {"contrastive": InfoNCE(hard_captions=True)},
    "CoCa": lambda: {"contrastive": InfoNCE(), "captioning": Captioning()},
}


def our_step(setting: Setting, *, compiled: bool, trimmed: bool, mixture: str = "InfoNCE") -> Step:
    """Our step: uint8 pictures, normalised on the device; captions cut if `trimmed`."""
    captioner = CaptionerConfig() if mixture == "CoCa" else None
    bias = -10.0 if mixture == "SigLIP" else None
    model = build_model(ModelConfig(arch=setting.arch, captioner=captioner, init_logit_bias=bias))
    objectives = MIXTURES[mixture]()
    needs = frozenset[str]().union(*(o.needs for o in objectives.values()))
    gather = Gather(needs)
    sources = [gather] if needs & gather.provides else []
    data = {"hard_mask"} if mixture == "NegCLIP" else set()
    module = TrainStep(model, sources, objectives, setting.autocast, data)
    module = module.to(setting.device).train()
    if compiled:
        model.compile_towers()
    optimizer = build_optimizer(module, OptimConfig())
    height, width = model.image_size
    pixels = torch.randint(0, 256, (setting.batch, 3, height, width), dtype=torch.uint8)
    tokens = captions(setting, CAPTION_TOKENS)
    if trimmed and model.trimmer is not None:
        tokens = model.trimmer(tokens)
    rows = {"pixels": pixels, "tokens": tokens.cpu(), "sample_id": torch.arange(setting.batch)}
    if mixture == "NegCLIP":
        rows["hard_tokens"] = tokens.cpu().flip(0)[:, None]
        rows["hard_mask"] = torch.ones(setting.batch, 1, dtype=torch.bool)
    (part,) = split(rows, None)
    signals = as_signals({name: get(part, name).to(setting.device) for name in part})

    def step() -> Tensor:
        loss: Tensor = module(signals)["total"]
        loss.backward()
        norm = nn.utils.clip_grad_norm_(module.parameters(), float("inf"))
        update(optimizer, torch.isfinite(norm))
        module.after_step()
        return loss

    return step


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(step: Step, steps: int, device: torch.device) -> float:
    """Seconds a step."""
    synchronise(device)
    begin = time.perf_counter()
    for _ in range(steps):
        step()
    synchronise(device)
    return (time.perf_counter() - begin) / steps


def peak_flops(device: torch.device) -> float:
    """Floating-point operations a second of a large matrix product in bf16."""
    n = 8192 if device.type == "cuda" else 512
    a = torch.randn(n, n, device=device, dtype=torch.bfloat16)
    return 2 * n**3 / min(timed(lambda: a @ a, 5, device) for _ in range(4))


def flops(step: Step) -> int:
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def rows_of(setting: Setting, compiled: tuple[bool, ...]) -> Mapping[str, Callable[[], Step]]:
    rows: dict[str, Callable[[], Step]] = {}
    for on in compiled:
        kind = "compiled" if on else "eager"
        rows[f"open_clip {kind}"] = partial(open_clip_step, setting, compiled=on)
        rows[f"ours 77 {kind}"] = partial(our_step, setting, compiled=on, trimmed=False)
        rows[f"ours {kind}"] = partial(our_step, setting, compiled=on, trimmed=True)
    return rows


def mixture_rows(setting: Setting) -> Mapping[str, Callable[[], Step]]:
    return {
        f"ours {name} eager": partial(our_step, setting, compiled=False, trimmed=True, mixture=name)
        for name in MIXTURES
        if name != "InfoNCE"
    }


def loss_of(name: str, image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """A contrastive loss of one global batch by its row's name."""
    bias = torch.tensor(-10.0, device=image.device)
    if name == "open_clip ClipLoss":
        found: Tensor = ClipLoss()(image, text, scale)
    elif name == "open_clip SigLipLoss":
        found = SigLipLoss()(image, text, scale, bias)
    elif name == "ours InfoNCE":
        found = contrastive_loss(image, text, scale)
    else:
        found = sigmoid_loss(image, text, scale, bias)
    return found


LOSSES = ("open_clip ClipLoss", "ours InfoNCE", "open_clip SigLipLoss", "ours Sigmoid")


def gradients(name: str, features: tuple[Tensor, Tensor], scale: float) -> list[Tensor]:
    """Of both towers' features and of the scale."""
    leaves = [f.detach().clone().requires_grad_() for f in features]
    factor = torch.tensor(scale, device=leaves[0].device, dtype=leaves[0].dtype)
    leaves.append(factor.requires_grad_())
    loss_of(name, leaves[0], leaves[1], leaves[2]).backward()
    return [leaf.grad for leaf in leaves if leaf.grad is not None]


def measure_losses(device: torch.device, rows: int, dtype: torch.dtype) -> None:
    """Print a row for every loss: time, memory, and its gradients' error on 2,048 rows."""
    pair = torch.randn(2, rows, 512, device=device)
    image, text = F.normalize(pair, dim=-1).to(dtype).unbind()
    few = (image[:2048], text[:2048])
    for name in LOSSES:
        exact = gradients(name, (few[0].double(), few[1].double()), 20.0)
        own = gradients(name, few, 20.0)
        errors = [
            float((a.double() - b).abs().max() / b.abs().max())
            for a, b in zip(own, exact, strict=True)
        ]
        row: dict[str, object] = {"row": f"loss {name}", "rows": rows, "dtype": str(dtype)}
        row["gradient_errors"] = [f"{e:.1e}" for e in errors]
        try:
            gradients(name, (image, text), 20.0)  # compiles
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            step = partial(gradients, name, (image, text), 20.0)
            times = [timed(step, 3, device) for _ in range(5)]  # type: ignore[arg-type]
            row["milliseconds"] = round(1e3 * statistics.median(times), 2)
            if device.type == "cuda":
                row["peak_mib"] = round((torch.cuda.max_memory_allocated() - before) / 2**20)
        except torch.OutOfMemoryError:
            row["milliseconds"] = "out of memory"
        print(json.dumps(row), flush=True)


def measure(setting: Setting, steps: int, compiled: tuple[bool, ...], peak: float) -> None:
    """Print a row for every variant of one tower; the variants take turns."""
    built, work, first, memory = {}, {}, {}, {}
    builders = {**rows_of(setting, compiled), **mixture_rows(setting)}
    counted = {**rows_of(setting, (False,)), **mixture_rows(setting)}
    for name, build in builders.items():
        if setting.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        # counted on an eager twin: the counter does not see into compiled code
        work[name] = flops(counted[name.replace("compiled", "eager")]())
        built[name] = build()
        first[name] = timed(built[name], 1, setting.device)  # compiles
        timed(built[name], 3, setting.device)
        memory[name] = torch.cuda.max_memory_allocated() / 2**30
    turns: dict[str, list[float]] = {name: [] for name in built}
    for _ in range(5):
        for name, step in built.items():
            turns[name].append(timed(step, steps, setting.device))
    base = statistics.median(turns["open_clip eager"])
    for name, times in turns.items():
        median = statistics.median(times)
        row = {
            "arch": setting.arch,
            "row": name,
            "batch": setting.batch,
            "pairs_per_second": round(setting.batch / median, 1),
            "spread": round((max(times) - min(times)) / median, 3),
            "vs_open_clip_eager": round(base / median, 3),
            "mfu": round(work[name] / median / peak, 4),
            "gflop_per_pair": round(work[name] / setting.batch / 1e9, 2),
            "first_step_seconds": round(first[name], 2),
            "peak_gib": round(memory[name], 2),
        }
        print(json.dumps(row), flush=True)


def main(
    archs: str = "ViT-B-32,ViT-B-16", batch: int = 1024, steps: int = 12, device: str = "cuda"
) -> None:
    """Measure and print.

    Args:
        archs: open_clip names, separated by commas.
        batch: pairs a step.
        steps: steps a turn.
        device: cuda, or cpu to try the script.
    """
    if device == "cuda" and not torch.cuda.is_available():
        print("no GPU here: nothing was measured")
        return
    on = torch.device(device)
    on_gpu = on.type == "cuda"
    torch.backends.cuda.matmul.allow_tf32 = True
    peak = peak_flops(on)
    name = torch.cuda.get_device_name() if on_gpu else "cpu"
    print(json.dumps({"device": name, "torch": torch.__version__, "bf16_peak_tflops": peak / 1e12}))
    for arch in archs.split(","):
        setting = Setting(arch=arch, batch=batch, device=on, precision=torch.bfloat16)
        measure(setting, steps, (False, True) if on_gpu else (False,), peak)
    for rows in (8192, 32768) if on_gpu else (2048,):
        for dtype in (torch.bfloat16, torch.float32):
            measure_losses(on, rows, dtype)
    measure_evaluation(on)
    measure_data_tools(on)
    measure_retrieval(on)


if __name__ == "__main__":
    auto_cli(main)
