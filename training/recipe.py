"""Reading a configuration: YAML recipe, command line, and what an existing run was made with."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

import vlp.objectives
from training.config import TrainConfig
from vlp.data.files import replace_atomically

# What may differ when a run goes on: none of it changes the weights.
FREE = ("data.workers", "log", "checkpoint", "watchdog")
CONFIG_FILE = "config.yaml"
_COMMANDS = ("config", "dry_run", "resume", "print_config")


class UsageError(ValueError):
    """A mistake in the command or recipe; the message names the key and the choices."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for."""

    config: TrainConfig
    recipe: dict[str, Any]  # resolved: every key, as plain values
    dry_run: bool
    override: bool  # go on although the configuration differs


class _StrictLoader(yaml.SafeLoader):
    """YAML in which the same key twice is an error, not the last one's victory."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise UsageError(f"{key_node.start_mark}: {key!r} is no key; an unfilled template?")
        if key in seen:
            raise UsageError(f"{key_node.start_mark}: the key {key!r} stands there twice")
        seen.add(key)
    return dict(yaml.SafeLoader.construct_mapping(loader, node, deep=True))


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def make_parser() -> ArgumentParser:
    """The command line of `training.train`."""
    parser = ArgumentParser(
        prog="training.train",
        description="Pretrain an image-text dual encoder. Options after --config override it, "
        "e.g. --optim.lr 1e-3 --objectives.contrastive.init_args.label_smoothing 0.1",
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="a recipe, training/recipes/*.yaml")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="build everything, run one step on random data, print sizes and costs",
    )
    parser.add_argument(
        "--resume",
        choices=["same", "override"],
        default="same",
        help="what to do in an existing run directory: go on only with the same configuration, "
        "or with this one",
    )
    parser.add_class_arguments(TrainConfig)
    return parser


def parse(argv: Sequence[str]) -> Request:
    """The run that a command line describes, with its objectives built.

    Raises:
        UsageError: anything wrong with the recipe or the command.
    """
    _check_recipes(argv)
    parser = make_parser()
    try:
        parsed = parser.parse_args(list(argv))
        recipe = _recipe(parser, parsed)
        torch.manual_seed(recipe["seed"] if recipe["seed"] >= 0 else 0)
        built = parser.instantiate(parsed)
        config = TrainConfig(**{f.name: built[f.name] for f in fields(TrainConfig)})
    except ArgumentError as error:
        raise UsageError(_explain(str(error))) from error
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Request(
        config=config, recipe=recipe, dry_run=parsed.dry_run, override=parsed.resume == "override"
    )


def _check_recipes(argv: Sequence[str]) -> None:
    """Recipes come first, exist, and do not say anything twice."""
    names = [a.partition("=")[0] for a in argv if a.startswith("--")]
    if "--config" in names[1:] and any(name != "--config" for name in names[: _last_config(names)]):
        raise UsageError("--config comes first: what stands before it would be overridden by it")
    for argument, value in zip(argv, [*argv[1:], ""], strict=False):
        name, _, inline = argument.partition("=")
        if name == "--config":
            path = Path(inline or value)
            if not path.is_file():
                raise UsageError(f"--config: there is no file {path}")
            try:
                yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise UsageError(f"{path} is no YAML: {error}") from error


def _last_config(names: Sequence[str]) -> int:
    return len(names) - 1 - list(reversed(names)).index("--config")


def _recipe(parser: ArgumentParser, parsed: Namespace) -> dict[str, Any]:
    recipe: dict[str, Any] = yaml.safe_load(parser.dump(parsed))
    return {key: value for key, value in recipe.items() if key not in _COMMANDS}


def _explain(message: str) -> str:
    """Add the choices where the parser's message lacks them."""
    message = " ".join(message.split())
    if "objectives" in message and ("class_path" in message or "has no attribute" in message):
        names = [f"vlp.objectives.{n}" for n in vlp.objectives.__all__ if n != "Objective"]
        message += f"; objectives of vlp: {', '.join(names)}, or the dotted path of your own class"
    return message


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Lines 'key: old -> new' for every setting that matters and differs."""
    lines = []
    for key in sorted(old.keys() | new.keys()):
        name = f"{prefix}{key}"
        if name in FREE or name == "run":
            continue
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += differences(before, after, f"{name}.")
        elif before != after:
            lines.append(f"{name}: {before!r} -> {after!r}")
    return lines


def check_run(run: Path, recipe: dict[str, Any], *, override: bool) -> None:
    """Check that a run's directory is this configuration's, or may become so.

    Raises:
        UsageError: the directory belongs to another configuration.
    """
    path = run / CONFIG_FILE
    if not path.is_file():
        return
    try:
        old = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is no YAML: {error}") from error
    if not isinstance(old, dict):
        raise UsageError(f"{path} is no configuration; use another --run")
    lines = differences(old, recipe)
    if lines and not override:
        listed = "\n  ".join(lines)
        raise UsageError(
            f"{run} was made with another configuration:\n  {listed}\n"
            "Use another --run, or --resume override to go on with the new one"
        )
    if old.get("batch") != recipe["batch"]:
        raise UsageError(
            f"batch: {old.get('batch')} -> {recipe['batch']}: the order of the data is counted in "
            "batches, so it stays for the whole run; start another from model.weights: " + str(run)
        )


def write_config(run: Path, recipe: dict[str, Any]) -> None:
    """Make the run's directory this configuration's."""
    text = yaml.safe_dump(recipe, sort_keys=False)
    replace_atomically(
        run / CONFIG_FILE, lambda temporary: temporary.write_text(text, encoding="utf-8")
    )
