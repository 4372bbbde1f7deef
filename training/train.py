"""Pretrain a dual encoder.

    python -m training.train --config training/recipes/shapes_cpu.yaml
    accelerate launch -m training.train --config training/recipes/clip_b32.yaml --run runs/b32

The same command again goes on where the run stopped.
"""

import faulthandler
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from training.build import build_accelerator, build_trainer, describe
from training.config import seconds
from training.control import Control
from training.dry_run import dry_run
from training.logs import Logs, drop_later_lines, set_up_logging
from training.loop import TrainingStoppedError, train
from training.recipe import Request, UsageError, claim, parse
from training.state import Progress
from training.trainer import RunTrainer
from vlp.data.source import UnusableSampleError
from vlp.data.tar import DamagedShardError
from vlp.dist import gather_objects

log = logging.getLogger("training")
DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 75  # 75: stopped by a signal, run the command again


def main(argv: Sequence[str]) -> int:
    """Run; the result is the exit status."""
    set_up_logging(main=True)
    try:
        request = parse(argv)
        accelerator = build_accelerator(request.config)
        set_up_logging(main=accelerator.is_main_process)
        torch.manual_seed(request.config.seed)
        trainer = build_trainer(request.config, accelerator, request.recipe)
        if request.dry_run:
            dry_run(trainer)
            return DONE
        return run(request, trainer)
    except (UsageError, ValueError, FileNotFoundError) as error:
        _complain(error)
        return USAGE
    except (TrainingStoppedError, UnusableSampleError, DamagedShardError, OSError) as error:
        _complain(error)
        return FAILED


def run(request: Request, trainer: RunTrainer) -> int:
    """Start or go on, train to the end, and say where things are."""
    config, folder = request.config, Path(request.config.run)
    progress = start(request, trainer)
    for key, value in describe(trainer).items():
        log.info("%s: %s", key, value)
    trainer.accelerator.init_trackers(folder.name)
    control = Control()
    logs = Logs(folder, progress.samples_seen, config.samples, trainer.accelerator)
    trainer.say = logs.say
    with logs, control.listening(), watchdog(config.watchdog) as arm:
        logs.on_step = arm
        done = train(config, trainer, progress, control, logs)
    if not done:
        log.info(
            "stopped by a signal at %d samples; the same command goes on", progress.samples_seen
        )
        return STOPPED
    log.info("done: %s", folder / "checkpoints")
    return DONE


def start(request: Request, trainer: RunTrainer) -> Progress:
    """Claim the run's directory and restore its newest complete checkpoint, if there is one."""
    folder = Path(request.config.run)
    found: tuple[Path, Progress] | None = None
    problem: str | None = None
    if trainer.accelerator.is_main_process:  # one reads and checks, all follow
        try:
            claim(folder, request.recipe, override=request.override)
            trainer.checkpoints.clean()
            found = trainer.checkpoints.newest()
        except (UsageError, OSError) as error:
            problem = str(error)
    found, problem = gather_objects((found, problem))[0]
    if problem is not None:
        raise UsageError(problem)
    if found is None:
        log.info("new run: %s", folder)
        progress = Progress()
    else:
        path, progress = found
        trainer.restore(path)
        log.info("going on from %s: %s", path, asdict(progress))
    if trainer.accelerator.is_main_process:
        for results in folder.glob("eval/*/results.jsonl"):
            drop_later_lines(
                results, progress.samples_seen, lambda line: line["checkpoint"]["samples_seen"]
            )
    return progress


@contextmanager
def watchdog(limit: str) -> Iterator[Callable[[], None]]:
    """Dump the stack of every thread when a step takes longer than `limit`; call to re-arm."""

    def arm() -> None:
        faulthandler.dump_traceback_later(seconds(limit) or 0, repeat=True)

    arm()
    try:
        yield arm
    finally:
        faulthandler.cancel_dump_traceback_later()


def _complain(error: Exception) -> None:
    print(f"error: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
