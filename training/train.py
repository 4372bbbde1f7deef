"""Pretrain a dual encoder.

    python -m training.train --config training/recipes/shapes_cpu.yaml
    accelerate launch -m training.train --config training/recipes/clip_b32.yaml --run runs/b32

The same command again goes on where the run stopped.
"""

import faulthandler
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from training.build import build_accelerator, build_trainer, describe
from training.config import TrainConfig, seconds
from training.control import Control
from training.dry_run import dry_run
from training.logs import Logs, drop_later_lines, set_up_logging
from training.loop import LOCAL_FAILURES, TrainingStoppedError, train
from training.recipe import Request, UsageError, check_run, parse, write_config
from training.state import Progress
from training.trainer import RunTrainer
from vlp.dist import gather_objects

log = logging.getLogger("training")
DONE, FAILED, USAGE, STOPPED, INTERRUPTED = 0, 1, 2, 75, 130  # 75: saved, to be run again


def main(argv: Sequence[str]) -> int:
    """Run; the result is the exit status."""
    set_up_logging(main=True)
    try:
        request = parse(argv)
        accelerator = build_accelerator(request.config)
        set_up_logging(main=accelerator.is_main_process)
        torch.manual_seed(request.config.seed)
        trainer = build_trainer(request.config, accelerator, request.recipe)
        progress = Progress() if request.dry_run else start(request, trainer)
    except (ValueError, OSError) as error:  # up to here all of these are about what was asked for
        _complain(error)
        return USAGE
    try:
        if request.dry_run:
            dry_run(trainer)
            return DONE
        return run(request.config, trainer, progress)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the newest checkpoint", file=sys.stderr)
        return INTERRUPTED
    except (TrainingStoppedError, *LOCAL_FAILURES) as error:
        _complain(error)
        return FAILED


def start(request: Request, trainer: RunTrainer) -> Progress:
    """Check the run's directory and restore its newest complete checkpoint, if there is one.

    Raises:
        UsageError: the run was made with another configuration or other data.
    """
    folder = Path(request.config.run)
    found: tuple[Path, Progress] | None = None
    problem: str | None = None
    if trainer.accelerator.is_main_process:  # one reads and checks, all follow
        try:
            check_run(folder, request.recipe, override=request.override)
            trainer.checkpoints.clean()
            found = trainer.checkpoints.newest()
        except (ValueError, OSError) as error:
            problem = str(error)
    digest = trainer.digest
    answers = gather_objects((found, problem, digest))
    found, problem, _ = answers[0]
    if problem is None and any(other != digest for _, _, other in answers):
        problem = "data.sources: the ranks see different shards; is a file system out of date?"
    if problem is not None:
        raise UsageError(problem)
    progress = Progress(data=digest)
    if found is None:
        log.info("new run: %s", folder)
    else:
        path, progress = found
        _check_data(progress, digest, override=request.override)
        trainer.restore(path)
        log.info("going on from %s: %s", path, asdict(progress))
    if trainer.accelerator.is_main_process:  # not before everything is restored
        write_config(folder, request.recipe)
        _take_back(folder, progress.samples_seen)
    return progress


def _check_data(progress: Progress, digest: str, *, override: bool) -> None:
    """The order is made of the shards' lengths: with others, every later sample is another."""
    if progress.data != digest and not override:
        raise UsageError(
            "data.sources or teachers: the shards, their numbers of samples, their sidecars or the "
            "teachers' weights are not those that the run began with; use another --run, or "
            "--resume override to go on with these"
        )
    progress.data = digest


def _take_back(folder: Path, samples_seen: int) -> None:
    """Remove what an interrupted run reported after the checkpoint: it will be reported again."""
    for path in folder.glob("eval/*/results.jsonl"):
        drop_later_lines(
            path, samples_seen, lambda line: line.get("checkpoint", {}).get("samples_seen")
        )
    drop_later_lines(folder / "problems.jsonl", samples_seen, lambda line: line.get("samples_seen"))


def run(config: TrainConfig, trainer: RunTrainer, progress: Progress) -> int:
    """Train to the end and say where things are."""
    folder = Path(config.run)
    for key, value in describe(trainer).items():
        log.info("%s: %s", key, value)
    trainer.accelerator.init_trackers(folder.name)
    control = Control()
    logs = Logs(folder, progress.samples_seen, config.samples, trainer.accelerator)
    trainer.say = logs.say
    batches = trainer.batches(progress.step, config.steps)
    with logs, closing(batches), control.listening(), watchdog(config.watchdog) as arm:
        logs.on_step = arm
        done = train(config, trainer, batches, progress, control, logs)
    if not done:
        log.info(
            "stopped by a signal at %d samples; the same command goes on", progress.samples_seen
        )
        return STOPPED
    log.info("done: %s", folder / "checkpoints")
    return DONE


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
