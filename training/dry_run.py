"""What a recipe will cost, before it costs it: one real step on random data."""

import resource
import sys
import time
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from training.build import describe
from training.trainer import RunTrainer
from vlp.data.loader import Batch
from vlp.data.sidecars import stored_width
from vlp.data.texts import dense
from vlp.dist import rank


def dry_run(trainer: RunTrainer) -> None:
    """Run one step on random pixels and full-length captions and print sizes and costs."""
    config, model = trainer.config, trainer.step_module.model
    rows = trainer.dataset.rows[1] - trainer.dataset.rows[0]
    batch = random_batch(trainer, rows)
    with FlopCounterMode(display=False) as counter:
        trainer.optimize(batch, 0)
    trainer.measures(trainer.optimize(batch, 1))  # a compiled model compiles here
    begin = time.perf_counter()
    values = trainer.measures(trainer.optimize(batch, 2))  # reads a value, so the device is done
    elapsed = time.perf_counter() - begin
    towers = {
        "image tower": sum(p.numel() for p in model.clip.visual.parameters()),
        "text tower and rest": sum(
            p.numel() for n, p in model.clip.named_parameters() if not n.startswith("visual.")
        ),
    }
    shown: Mapping[str, str] = {
        **describe(trainer),
        **{name: f"{count:,} parameters" for name, count in towers.items()},
        "FLOPs per pair": f"{counter.get_total_flops() / rows:.4g} (forward and backward, "
        f"{model.description.context_length} tokens)",
        "peak memory per rank": peak_memory(trainer.accelerator.device),
        "one step": f"{elapsed:.3g} s, {config.batch / elapsed:,.0f} pairs/s without the loader",
        "loss": f"{values['loss']:.4f}, gradient norm {values['grad_norm']:.4g}",
    }
    if rank() == 0:
        for key, value in shown.items():
            print(f"{key:>24}  {value}")


def random_batch(trainer: RunTrainer, rows: int) -> Batch:
    """Tensors of the shapes that the recipe's data have, every text of full length."""
    height, width = trainer.step_module.model.image_size
    pipeline = trainer.dataset.pipeline
    slots = pipeline.draw.slots
    places = [(k, row, slot) for k, n in slots.items() for row in range(rows) for slot in range(n)]
    texts = [f"{'word ' * 200}{i}" for i in range(rows + len(places))]
    tokens: Tensor = trainer.tokenizer(texts)
    found = {
        "pixels": torch.randint(0, 256, (rows, 3, height, width), dtype=torch.uint8),
        "tokens": tokens[:rows],
        "sample_id": torch.arange(rows),
        **dense(tokens[rows:], places, rows, slots),
    }
    if pipeline.hashes:
        found |= {"caption_id": torch.arange(rows), "image_id": torch.arange(rows)}
    for name in pipeline.teachers:
        d = stored_width(name, trainer.dataset.sources[0].shards)
        found |= {f"{name}_{side}": torch.randn(rows, d) for side in ("image", "text")}
    return {"rows": found, "problems": [], "truncated": 0, "fallbacks": 0}


def peak_memory(device: torch.device) -> str:
    """The device's peak, or the process's resident memory on a CPU, in GiB."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB on the device"
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts in bytes there, in KiB here
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return f"{peak / 2**30:.2f} GiB resident"
