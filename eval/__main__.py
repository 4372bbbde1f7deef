"""`python -m eval run | compare | report | list | check | export-wds`."""

import inspect
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryFile
from types import MappingProxyType

import docstring_parser
import torch
from accelerate import PartialState
from jsonargparse import ArgumentParser, Namespace

from eval.checks.check_data import check_data
from eval.comparison.compare import compare
from eval.export_wds import export_wds
from eval.listing import list_tasks
from eval.report.report import report
from eval.run import check_tasks
from eval.runner import FAILURES, Job, Report, Settings, open_job, reason, run_checkpoint
from eval.spec import EvalSpec
from eval.suites import SUITES, plan
from eval.tasks import TASKS
from vlp.command_line import FAILED, INTERRUPTED, MISUSED, Parser
from vlp.device import checked_device


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0; 1 when a part failed; 2 for a mistake of the user; 130 for ^C."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    try:
        given = _parser().parse_args(arguments)
        if given.command == "run":
            return run(given.run)
        return COMMANDS[given.command](**given[given.command].as_dict())
    except FAILURES as error:
        print(f"error: {reason(error)}", file=sys.stderr)
        return MISUSED
    except KeyboardInterrupt:
        print("interrupted: what is finished is kept", file=sys.stderr)
        return INTERRUPTED


def run(given: Namespace) -> int:
    """Evaluate checkpoints; the exit status."""
    jobs, problems = _jobs(given)
    device = _join_group(str(checked_device(given.device)))
    output = _writable(Path(given.output).expanduser())
    cache = None if given.cache == "none" else Path(given.cache or output / "cache")
    settings = Settings(
        output=output,
        cache=cache,
        device=device,
        precision=given.precision,
        recompute=given.recompute,
    )
    first = int(os.environ.get("RANK", "0")) == 0

    def say(text: str) -> None:
        if first:
            print(text, flush=True)

    reports = []
    for source in given.checkpoint:
        if len(given.checkpoint) > 1:
            say(f"\n{source}")
        try:
            reports.append(run_checkpoint(source, jobs, settings, say))
        except FAILURES as error:
            if len(given.checkpoint) == 1:
                raise
            reports.append(Report(problems=[f"{source}: {reason(error)}"]))
    problems += [problem for report in reports for problem in report.problems]
    done = sum(len(report.records) for report in reports)
    before = sum(report.finished_before for report in reports)
    say(f"\n{_counted(done, before)}: {output / 'results.jsonl'}" if done else "\nno result")
    for problem in problems if first else ():
        print(f"not evaluated: {problem}", file=sys.stderr)
    return FAILED if problems else 0


def _counted(done: int, before: int) -> str:
    return f"{done} result{'s' * (done > 1)} ({before} of them finished before)"


COMMANDS: MappingProxyType[str, Callable[..., int]] = MappingProxyType(
    {
        "compare": compare,
        "report": report,
        "list": list_tasks,
        "check": check_data,
        "export-wds": export_wds,
    }
)
_SPEC_OPTIONS = tuple(field.name for field in fields(EvalSpec) if field.name not in ("task",))


def _jobs(given: Namespace) -> tuple[list[Job], list[str]]:
    """What to evaluate, checked before a model is loaded: data take a second, models minutes.

    Raises:
        ValueError, FileNotFoundError: nothing can be evaluated.
    """
    options = given.as_dict()
    if bool(given.task) == bool(given.suite):
        raise ValueError("run needs either --task NAME or --suite NAME")
    tasks = list(dict.fromkeys(name for entry in given.task or () for name in entry.split(",")))
    spec = EvalSpec(
        task=tasks[0] if tasks else "", **{name: options[name] for name in _SPEC_OPTIONS}
    )
    if tasks:
        check_tasks(spec, tasks)
        job = Job(spec=spec, tasks=tuple(tasks))
        open_job(job)
        return [job], []
    planned, problems = plan(given.suite, Path(given.data).expanduser(), spec)
    jobs = []
    for job in planned:
        try:
            open_job(job)
        except FAILURES as error:
            problems.append(f"{job.title}: {reason(error)}")
        else:
            jobs.append(job)
    if not jobs:
        listed = "\n  ".join(problems)
        raise ValueError(f"suite {given.suite}: nothing of it can be evaluated:\n  {listed}")
    return jobs, problems


def _parser() -> ArgumentParser:
    parser = Parser(prog="python -m eval", description="Benchmark checkpoints.")
    commands = parser.add_subcommands(dest="command")
    commands.add_subcommand("run", _run_parser(), help="evaluate checkpoints")
    for name, function in COMMANDS.items():
        about = (function.__doc__ or "").partition("\n")[0]
        own = Parser(description=about)
        _add_arguments(own, function)
        commands.add_subcommand(name, own, help=about[:1].lower() + about[1:].rstrip("."))
    return parser


def _add_arguments(parser: ArgumentParser, function: Callable[..., int]) -> None:
    """The arguments of a function; one that is true or false needs no value."""
    signature = inspect.signature(function).parameters.values()
    flags: set[str | int] = {own.name for own in signature if own.annotation is bool}
    parser.add_function_arguments(function, as_positional=True, skip=flags)
    for described in docstring_parser.parse(function.__doc__ or "").params:
        if described.arg_name in flags:
            parser.add_argument(
                f"--{described.arg_name}", action="store_true", help=described.description
            )


def _run_parser() -> ArgumentParser:
    parser = Parser(description="Evaluate checkpoints and add to OUTPUT/results.jsonl.")
    parser.add_argument(
        "checkpoint",
        nargs="+",
        help="run, checkpoint or model folder, Hugging Face folder, or NAME/TAG of open_clip",
    )
    parser.add_argument("--task", action="append", help=f"{' | '.join(TASKS)}; may be repeated")
    parser.add_argument("--suite", type=str | None, help=f"{' | '.join(SUITES)}; instead of --task")
    parser.add_argument("--output", required=True, help="folder for the results")
    parser.add_class_arguments(EvalSpec, skip={"task", "ood", "shifted"})
    for name in ("ood", "shifted"):
        parser.add_argument(f"--{name}", nargs="+", default=[], help=_HELP[name])
    parser.add_argument(
        "--cache", type=str | None, help="folder for features, or none; default OUTPUT/cache"
    )
    parser.add_argument("--recompute", action="store_true", help="also what is finished")
    parser.add_argument("--precision", default="fp32", help="fp32 | bf16 | fp16")
    parser.add_argument("--device", type=str | None, help="default: the GPU if there is one")
    return parser


_HELP = MappingProxyType(
    {
        "ood": "data sets of which no picture has one of the classes",
        "shifted": "further data sets with the same classes",
    }
)


def _writable(folder: Path) -> Path:
    """The folder, made; what cannot be written must be known before hours of encoding.

    Raises:
        ValueError: it is a file, or its disk or owner does not let it be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"output {folder} cannot be written: {error.strerror}") from None
    return folder


def _join_group(device: str) -> str:
    """Under a launcher, join its processes; the device that this one should use."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    return str(PartialState(cpu=torch.device(device).type == "cpu").device)


if __name__ == "__main__":
    sys.exit(main())
