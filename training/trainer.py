"""One optimizer step, evaluation and saving of a built run: what `loop.train` calls."""

import hashlib
import json
import logging
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from eval.metric_names import headline
from eval.run import evaluate
from eval.spec import EvalSpec
from training.accumulate import backward_in_passes, split
from training.config import TrainConfig
from training.loop import TrainingStoppedError
from training.optim import update
from training.schedule import learning_rate
from training.shard import average_whole, clip_gradients, collected, put, whole
from training.state import (
    Checkpoints,
    Flat,
    Progress,
    flatten_optimizer,
    load_flat,
    restore_optimizer,
    stored_tensors,
)
from training.step import TrainStep
from vlp.checkpoint import publish, published_state
from vlp.data.loader import Batch, PairDataset, batches
from vlp.data.order import philox
from vlp.dist import active, gather_objects, rank, world_size
from vlp.encoder import Encoder
from vlp.model import DualEncoder
from vlp.model.tokens import Tokenizer
from vlp.signals import Signals, as_signals
from vlp.sources import Teacher

log = logging.getLogger(__name__)
_STEP_SEED = 100  # keeps the device's random streams apart from those of the data order


@dataclass
class RunTrainer:
    """The parts of a run, joined by `training.build`."""

    config: TrainConfig
    accelerator: Accelerator
    step_module: TrainStep
    wrapped: nn.Module  # the same, as DDP wraps it, or itself
    optimizer: torch.optim.AdamW
    averaged: AveragedModel | None
    dataset: PairDataset
    tokenizer: Tokenizer
    checkpoints: Checkpoints
    recipe: dict[str, Any]  # the resolved configuration
    tasks: Mapping[str, EvalSpec]  # with their data in place
    unsharded: DualEncoder | None = None  # where parameters are sharded, a whole model to evaluate
    say: Callable[[str], None] = print

    def __post_init__(self) -> None:
        device = self.accelerator.device
        self._nonfinite = torch.zeros(2, device=device)  # in all, in a row
        self._names: dict[Tensor, str] = {p: n for n, p in self.step_module.named_parameters()}

    @property
    def published(self) -> DualEncoder:
        """The model that is evaluated and shared: the averaged weights where there are any."""
        if self.averaged is None:
            return self.step_module.model
        assert isinstance(self.averaged.module, DualEncoder)
        return self.averaged.module

    @property
    def digest(self) -> str:
        """sha256 of what a run learns from: shards, sidecars and the teachers' weights."""
        teachers = [t.fingerprint for t in self.step_module.sources if isinstance(t, Teacher)]
        if not teachers:
            return self.dataset.digest
        return hashlib.sha256(json.dumps([self.dataset.digest, *teachers]).encode()).hexdigest()

    def batches(self, start: int, stop: int) -> Generator[Batch, None, None]:
        on_gpu = self.accelerator.device.type == "cuda"
        return batches(
            self.dataset, start, stop, workers=self.config.data.workers, pin_memory=on_gpu
        )

    def optimize(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Forward, backward, clip, update. Returns device tensors: nothing waits for them."""
        parts = self._to_device(batch)
        self.step_module.number = step
        lr = self._set_learning_rate(step * self.config.batch)
        seed = philox(self.config.seed, _STEP_SEED, step, rank()).random_raw()
        torch.manual_seed(int(seed) >> 1)  # dropout is a function of the position, as the data are
        losses = self._backward(parts)
        norm = self._clip()
        self._update(torch.isfinite(norm))
        self.step_module.after_step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.step_module.model)
        scale = self.step_module.model.scale.detach()
        return {
            **losses,
            "grad_norm": norm,
            "scale": scale,
            "lr": torch.tensor(lr, dtype=torch.float64),
        }

    def _to_device(self, batch: Batch) -> list[Signals]:
        """The passes of a batch. Texts are packed before they move: it needs their number."""
        device = self.accelerator.device
        return [
            as_signals({k: v.to(device, non_blocking=True) for k, v in part.items()})  # type: ignore[attr-defined]
            for part in split(batch["rows"], self.config.micro_batch)
        ]

    def _set_learning_rate(self, seen: int) -> float:
        config = self.config
        lr = learning_rate(
            config.schedule, config.optim.lr, seen=seen, batch=config.batch, total=config.samples
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _backward(self, parts: list[Signals]) -> dict[str, Tensor]:
        if self.config.micro_batch is not None:
            found = backward_in_passes(self.step_module, parts, self._scaled)
        else:
            losses: dict[str, Tensor] = self.wrapped(parts[0])
            self._scaled(losses["total"]).backward()  # type: ignore[no-untyped-call]
            found = {name: value.detach() for name, value in losses.items()}
        if self.wrapped is self.step_module:  # DDP reduces by itself, sharded parameters do too
            average_whole(self.step_module)
        return found

    def _scaled(self, loss: Tensor) -> Tensor:
        scaler = self.accelerator.scaler
        scaled: Tensor = loss if scaler is None else scaler.scale(loss)
        return scaled

    def _clip(self) -> Tensor:
        """The gradient's norm before clipping, the same on every rank."""
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.unscale_(self.optimizer)
        limit = self.config.optim.clip_grad_norm or float("inf")
        return clip_gradients(self.step_module.parameters(), limit)

    def _update(self, finite: Tensor) -> None:
        bad = (~finite).float()
        self._nonfinite = torch.stack([self._nonfinite[0] + bad, (self._nonfinite[1] + bad) * bad])
        scaler = self.accelerator.scaler
        if scaler is None:
            update(self.optimizer, finite)
            return
        scaler.step(self.optimizer)
        scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def measures(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Values of the last step as numbers: losses are means over ranks. Waits for the device."""
        values = dict(values)
        names = [*self.step_module.objectives, "total"]
        losses = torch.stack([values[name].float() for name in names])
        if active():
            dist.all_reduce(losses)
            losses /= world_size()
        found = dict(zip(names, losses.tolist(), strict=True))
        named = {f"loss/{name}": found[name] for name in self.step_module.objectives}
        total, in_a_row = self._nonfinite.tolist()
        return {
            "loss": found["total"],
            **named,
            **{name: float(values[name]) for name in ("grad_norm", "lr", "scale")},
            "nonfinite": total,
            "nonfinite_in_a_row": in_a_row,
        }

    def evaluate(self, progress: Progress) -> None:
        """Run the evaluation tasks on the weights that are published, on all ranks."""
        if not self.tasks:
            return
        training = self.step_module.model.training
        encoder = Encoder(
            self._whole_model(),
            self.tokenizer,
            precision=self.config.precision,
            path=self.config.run,
        )
        description = {**encoder.description, **asdict(progress)}
        for name, spec in self.tasks.items():
            try:
                found = evaluate(
                    encoder,
                    spec,
                    description=description,
                    output=Path(self.config.run) / "eval" / name,
                    show_progress=False,
                )
            except ValueError as error:  # of the features or the data, so the same on all ranks
                raise TrainingStoppedError(f"evaluation {name}: {error}") from error
            self.say(f"[{progress.samples_seen:,} pairs] {name}: {headline(found)}")
        self.step_module.model.train(training)
        if self.unsharded is not None:
            self.unsharded.to("cpu")  # it takes the device's memory during an evaluation alone

    def _whole_model(self) -> DualEncoder:
        """The published model with whole parameters: in an evaluation ranks encode unequally often,
        and a sharded model would have them wait for one another.
        """
        if self.unsharded is None:
            return self.published
        own = self.unsharded.state_dict()
        with torch.no_grad():
            for name, tensor in self.published.state_dict().items():  # one at a time, for memory
                own[name].copy_(whole(tensor))
        return self.unsharded.to(self.accelerator.device)

    def save(self, progress: Progress) -> None:
        """Write a checkpoint in the background; only one process writes."""
        model, keep = self.published, self.accelerator.is_main_process
        flat = self._flat(keep=keep)  # all ranks put sharded tensors together
        state = collected(published_state(model), keep=keep)
        if not keep:
            return
        state = {k: v.detach().to("cpu", copy=True) for k, v in state.items()}
        facts = {
            "weights": "ema" if self.averaged is not None else "last",
            "samples_seen": progress.samples_seen,
            "step": progress.step,
            "recipe": self.recipe,
        }
        self.checkpoints.save(
            flat,
            progress,
            lambda folder: publish(folder, state, model.description, self.tokenizer, facts),
        )

    def finish_saving(self, *, wait: bool) -> None:
        self.checkpoints.wait() if wait else self.checkpoints.check()

    def restore(self, path: Path) -> None:
        """Fill every tensor of the run from a checkpoint."""
        flat = {**self._flat(with_optimizer=False), **stored_tensors(path, "optimizer.")}
        load_flat(path, flat)
        for name, tensor in self.step_module.state_dict().items():
            put(tensor, flat[f"step.{name}"])
        restore_optimizer(self.optimizer, self._names, flat)
        self._nonfinite = flat["nonfinite"].to(self.accelerator.device)
        if self.accelerator.scaler is not None:
            scale, growth = flat["loss_scale"].tolist()
            state = {"scale": scale, "_growth_tracker": int(growth)}
            self.accelerator.scaler.load_state_dict(
                {**self.accelerator.scaler.state_dict(), **state}
            )

    def _flat(self, *, with_optimizer: bool = True, keep: bool = True) -> Flat:
        """Every tensor of the run by name; those that are not sharded share memory with the run."""
        state = collected(self.step_module.state_dict(), keep=keep)
        flat = {f"step.{name}": value for name, value in state.items()}
        flat["nonfinite"] = self._nonfinite
        if with_optimizer:
            flat |= collected(flatten_optimizer(self.optimizer, self._names), keep=keep)
        if self.averaged is not None:
            flat |= {f"ema.{name}": value for name, value in self.averaged.state_dict().items()}
        if self.accelerator.scaler is not None:
            scaler = self.accelerator.scaler.state_dict()
            flat["loss_scale"] = torch.tensor([scaler["scale"], float(scaler["_growth_tracker"])])
        return flat

    def report(self, batch: Batch, progress: Progress) -> None:
        """List the unusable samples of all ranks in `problems.jsonl`."""
        problems = [p for part in gather_objects(batch["problems"]) for p in part]
        if not self.accelerator.is_main_process:
            return
        with open(Path(self.config.run) / "problems.jsonl", "a", encoding="utf-8") as file:
            for problem in problems:
                line = {"samples_seen": progress.samples_seen, **asdict(problem)}
                file.write(json.dumps(line) + "\n")
                self.say(f"replaced {problem.key} of {problem.shard}: {problem.reason}")
