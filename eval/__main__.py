"""`python -m eval run CHECKPOINT ...` and `python -m eval report RUN`."""

import io
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch
from accelerate import PartialState
from jsonargparse import ArgumentParser, Namespace

from eval.report import write_report
from eval.results import summary
from eval.run import check_all, evaluate_tasks
from eval.run_folder import read_run
from eval.spec import EvalSpec
from eval.tasks import TASKS
from vlp import load
from vlp.checkpoint import read_card
from vlp.published import find_published


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 for a mistake of the user, said in one line."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    given = _parser().parse_args(arguments)
    try:
        (run if given.command == "run" else report)(given[given.command])
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(given: Namespace) -> None:
    """Evaluate a checkpoint."""
    tasks = list(dict.fromkeys(name for entry in given.task for name in entry.split(",")))
    options = given.as_dict()
    spec = EvalSpec(task=tasks[0], **{name: options[name] for name in _SPEC_OPTIONS})
    # the data is checked first: it takes a second, and loading a large model takes minutes
    check_all(spec, tasks)
    device = _join_group(_checked_device(given.device))
    started = time.perf_counter()
    encoder = load(given.checkpoint, device=device, precision=given.precision)
    records = evaluate_tasks(
        encoder,
        spec,
        tasks,
        description={"load_seconds": time.perf_counter() - started, **_progress(given.checkpoint)},
        output=Path(given.output),
        show_progress=True,
    )
    if int(os.environ.get("RANK", "0")) == 0:
        for record in records.values():
            print(summary(record))
        print(f"results: {Path(given.output) / 'results.jsonl'}")


def report(given: Namespace) -> None:
    """Write the report of a run or of a folder of results, and say what is in it."""
    folder = Path(given.folder)
    path = write_report(folder, given.output and Path(given.output))
    for benchmark in read_run(folder).benchmarks:
        print(summary(benchmark.last))
    print(f"report: {path}")


_SPEC_OPTIONS = tuple(field.name for field in fields(EvalSpec) if field.name != "task")


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m eval", description="Benchmark checkpoints.")
    commands = parser.add_subcommands(dest="command")
    commands.add_subcommand("run", _run_parser(), help="evaluate a checkpoint")
    report_parser = ArgumentParser(description="One self-contained HTML file about a run.")
    report_parser.add_argument("folder", help="a run, or a folder with results.jsonl")
    report_parser.add_argument("--output", type=str | None, help="default: FOLDER/report.html")
    commands.add_subcommand("report", report_parser, help="write the report of a run")
    return parser


def _run_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Evaluate a checkpoint and add to OUTPUT/results.jsonl.")
    parser.add_argument("checkpoint", help="run, checkpoint or model folder, or NAME/TAG")
    parser.add_argument(
        "--task", action="append", required=True, help=f"{' | '.join(TASKS)}; may be repeated"
    )
    parser.add_argument("--output", required=True, help="folder for the results")
    parser.add_class_arguments(EvalSpec, skip={"task"})
    parser.add_argument("--precision", default="fp32", help="fp32 | bf16 | fp16")
    parser.add_argument("--device", type=str | None, help="default: the GPU if there is one")
    return parser


def _progress(checkpoint: str) -> dict[str, int]:
    """How far a checkpoint of ours was trained; nothing for weights made by others."""
    path = Path(checkpoint.removeprefix("local-dir:")).expanduser()
    card = read_card(find_published(path)) if path.is_dir() else None
    return {"step": card.step, "samples_seen": card.samples_seen} if card else {}


def _checked_device(name: str | None) -> str:
    """The name of a device that this machine has; without one the GPU if there is one."""
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
        "xpu": torch.xpu.device_count(),
    }
    if name is None:
        return "cuda" if counts["cuda"] else "cpu"
    try:
        device = torch.device(name)
        there = (device.index or 0) < counts.get(device.type, 0)
    except RuntimeError:
        there = False
    if not there:
        choices = [kind + ":N" * (count > 1) for kind, count in counts.items() if count]
        raise ValueError(f"device {name!r}: choices are {', '.join(choices)}")
    return name


def _join_group(device: str) -> str:
    """Under a launcher, join its processes; the device that this one should use."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    return str(PartialState(cpu=torch.device(device).type == "cpu").device)


if __name__ == "__main__":
    sys.exit(main())
