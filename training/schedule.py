"""The learning rate, a pure function of the samples seen."""

import math

from training.config import ScheduleConfig


def learning_rate(config: ScheduleConfig, lr: float, *, seen: int, batch: int, total: int) -> float:
    """The rate of the step that starts after `seen` samples.

    The first step of a warm-up has lr · batch / warmup, so that the warm-up's last step has lr,
    as in open_clip; the cosine starts there and would reach zero at `total`.
    """
    if seen < config.warmup:
        return lr * min(1.0, (seen + batch) / config.warmup)
    if config.kind == "cosine":
        progress = (seen - config.warmup) / max(1, total - config.warmup)
        return lr * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    if config.kind == "constant_cooldown" and config.cooldown:
        return lr * min(1.0, max(0.0, (total - seen) / config.cooldown))
    return lr
