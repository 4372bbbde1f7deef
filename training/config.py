"""The configuration of a run: typed, frozen, and what the recipes fill in."""

import logging
import re
from dataclasses import dataclass, field
from typing import Literal

from eval.spec import EvalSpec
from vlp.data.loader import DataConfig
from vlp.model import ModelConfig
from vlp.objectives import Objective
from vlp.signals import COUNTER, HARD, NUMBER

log = logging.getLogger(__name__)
_UNITS = {"s": 1, "min": 60, "h": 3600}
_DURATION = re.compile(rf"(\d+(?:\.\d+)?)({'|'.join(_UNITS)})")


def check_cadence(name: str, every: int | str) -> None:
    """A cadence is a positive number of samples, or a duration such as '10min'."""
    if isinstance(every, str) and seconds(every) is None:
        raise ValueError(
            f"{name} must be a number of samples or like 30s, 10min, 2h; got {every!r}"
        )
    if isinstance(every, int) and every < 1:
        raise ValueError(f"{name} must be at least 1 sample, got {every}")


def seconds(every: int | str) -> float | None:
    """The duration in seconds, or None if it is none."""
    match = _DURATION.fullmatch(str(every))
    return float(match[1]) * _UNITS[match[2]] if match else None


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW. Weight decay leaves out biases, norms and every other tensor of under 2 dimensions."""

    lr: float = 5e-4  # at the top of the schedule
    weight_decay: float = 0.2
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    clip_grad_norm: float | None = None  # L2 norm over all parameters

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"optim.lr must be positive, got {self.lr}")
        if self.clip_grad_norm is not None and self.clip_grad_norm <= 0:
            raise ValueError(f"optim.clip_grad_norm must be positive, got {self.clip_grad_norm}")


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The learning rate over samples seen."""

    kind: Literal["cosine", "constant", "constant_cooldown"] = "cosine"
    warmup: int = 0  # samples, linear
    cooldown: int = 0  # samples at the end of constant_cooldown, linear to zero

    def __post_init__(self) -> None:
        if (self.cooldown > 0) != (self.kind == "constant_cooldown"):
            raise ValueError(
                f"schedule.cooldown {self.cooldown} with schedule.kind {self.kind}: a cooldown "
                "belongs to constant_cooldown, and to it alone"
            )


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    every: int | str = 10_000  # samples, or a duration
    trackers: list[str] = field(default_factory=list)  # accelerate's: tensorboard, wandb, ...

    def __post_init__(self) -> None:
        check_cadence("log.every", self.every)


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    every: int | str = 1_000_000  # samples, or a duration; also at the end
    # a task's data may start with @NAME: the folder of that source's shards
    tasks: dict[str, EvalSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_cadence("eval.every", self.every)


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    every: int | str = "10min"  # samples, or a duration; also at the end
    keep: int = 2  # the newest ones

    def __post_init__(self) -> None:
        check_cadence("checkpoint.every", self.every)
        if self.keep < 1:
            raise ValueError(f"checkpoint.keep must be at least 1, got {self.keep}")


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """Whose features an objective learns from, as NAME_image and NAME_text."""

    weights: str | None = None  # run, checkpoint or model folder, or an open_clip NAME/TAG
    momentum: float | None = None  # decay of a copy of the model that follows it

    def __post_init__(self) -> None:
        if (self.weights is None) == (self.momentum is None):
            raise ValueError("teachers: an entry has either weights or momentum")
        if self.momentum is not None and not 0 <= self.momentum < 1:
            raise ValueError(f"teachers: momentum must be in [0, 1), got {self.momentum}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run."""

    run: str  # directory
    samples: int  # pairs to see in all, over all ranks
    batch: int  # pairs per optimizer step, over all ranks
    data: DataConfig
    objectives: dict[str, Objective]
    teachers: dict[str, TeacherConfig] = field(default_factory=dict)
    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = False  # compile the towers
    parallel: Literal["ddp", "fsdp"] = "ddp"  # copies of the model, or its parameters sharded
    micro_batch: int | None = None  # pairs per rank and pass; gradients equal those of one pass
    ema: float | None = None  # decay of averaged weights, which are then evaluated and published
    log: LogConfig = field(default_factory=LogConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    max_nonfinite: int = 10  # skipped updates in a row before the run stops
    watchdog: str = "30min"  # a step that takes longer dumps the stack of every thread

    def __post_init__(self) -> None:
        if not self.objectives:
            raise ValueError("objectives is empty: a run needs at least one")
        for name in ("samples", "batch", "max_nonfinite"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ValueError(f"micro_batch must be at least 1, got {self.micro_batch}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema must be in (0, 1), got {self.ema}")
        if self.precision == "fp16" and self.parallel == "fsdp":
            raise ValueError("precision: fp16 does not go with parallel: fsdp; use bf16")
        if self.ema is not None and self.parallel == "fsdp":
            raise ValueError("ema keeps whole copies of the parameters: not with parallel: fsdp")
        if self.parallel == "fsdp" and any(t.momentum is not None for t in self.teachers.values()):
            raise ValueError("teachers: momentum keeps a whole copy: not with parallel: fsdp")
        taken = sorted(self.teachers.keys() & {"all", HARD, COUNTER, NUMBER})
        if taken:
            raise ValueError(f"teachers: the name {taken[0]!r} belongs to other signals")
        if not seconds(self.watchdog):
            raise ValueError(f"watchdog must be like 30s, 10min, 2h; got {self.watchdog!r}")
        if self.schedule.warmup + self.schedule.cooldown > self.samples:
            log.warning(
                "schedule: warmup %d and cooldown %d are longer than the %d samples of the run: "
                "the learning rate never reaches optim.lr",
                self.schedule.warmup,
                self.schedule.cooldown,
                self.samples,
            )

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return -(-self.samples // self.batch)
