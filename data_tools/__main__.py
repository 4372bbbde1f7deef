"""`python -m data_tools COMMAND`: make, check, enrich and curate shards."""

import io
import re
import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from inspect import cleandoc
from typing import Any, get_type_hints

from jsonargparse import ArgumentParser

from data_tools.balance import Balance, balance
from data_tools.build import Build, build
from data_tools.counts import Counts, counts
from data_tools.dedup import Dedup, dedup
from data_tools.errors import InputError, RunError
from data_tools.export import Export, export
from data_tools.filter import Filter, filter_shards
from data_tools.index import Index, index
from data_tools.inspect import Inspect, inspect
from data_tools.negatives import Negatives, negatives
from data_tools.repair import Repair, repair
from data_tools.reshard import Reshard, reshard
from data_tools.rewrite import Rewrite, rewrite
from data_tools.score import Score, score
from data_tools.shapes import Shapes, shapes
from data_tools.stats import Stats, stats
from data_tools.terminal import printable
from data_tools.validate import Validate, validate
from vlp.data.tar import DamagedShardError

COMMANDS: dict[str, tuple[type[Any], Callable[[Any], int | None]]] = {
    "build": (Build, build),
    "validate": (Validate, validate),
    "repair": (Repair, repair),
    "reshard": (Reshard, reshard),
    "stats": (Stats, stats),
    "inspect": (Inspect, inspect),
    "index": (Index, index),
    "score": (Score, score),
    "filter": (Filter, filter_shards),
    "balance": (Balance, balance),
    "dedup": (Dedup, dedup),
    "rewrite": (Rewrite, rewrite),
    "counts": (Counts, counts),
    "negatives": (Negatives, negatives),
    "export": (Export, export),
    "shapes": (Shapes, shapes),
}


def main() -> int:
    """Run the command line; the exit code is 2 for input that cannot be used, 1 for a failure."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    choice = _parser().parse_args()
    options, command = COMMANDS[choice.subcommand]
    try:
        return command(options(**vars(choice[choice.subcommand]))) or 0
    except InputError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except (RunError, DamagedShardError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command continues from here", file=sys.stderr)
        return 130


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m data_tools", description=__doc__)
    subcommands = parser.add_subcommands()
    for name, (options, _) in COMMANDS.items():
        summary, _ = _described(options)
        subcommands.add_subcommand(name, _command_parser(options), help=summary)
    return parser


def _command_parser(options: type[Any]) -> ArgumentParser:
    """The options of a dataclass, with dashes in their names; what is "positional" stands alone.

    So does a list of texts.
    """
    summary, about = _described(options)
    parser = ArgumentParser(description=summary)
    hints = get_type_hints(options)
    for field in _own_first(options):
        flag = "--" + field.name.replace("_", "-")
        if hints[field.name] is bool:
            parser.add_argument(flag, action="store_true", help=about[field.name])
        elif field.metadata.get("positional"):
            parser.add_argument(field.name, type=hints[field.name], help=about[field.name])
        elif hints[field.name] == tuple[str, ...]:
            parser.add_argument(flag, nargs="+", type=str, default=[], help=about[field.name])
        elif hints[field.name] == list[str]:
            parser.add_argument(field.name, nargs="+", type=str, help=about[field.name])
        else:
            required = field.default is MISSING
            keywords: dict[str, Any] = {} if required else {"default": field.default}
            hint = hints[field.name]
            parser.add_argument(
                flag, type=hint, required=required, help=about[field.name], **keywords
            )
    return parser


def _own_first(options: type[Any]) -> "list[Field[Any]]":
    """The fields of a dataclass, then those of its bases, which every command has."""
    order = [name for base in options.__mro__ for name in vars(base).get("__annotations__", {})]
    return sorted(fields(options), key=lambda field: order.index(field.name))


def _described(options: type[Any]) -> tuple[str, dict[str, str]]:
    """What a class's docstring begins with, and what `Args` say of each field, also inherited."""
    summary, about = "", dict[str, str]()
    for base in reversed(options.__mro__[:-1]):
        text, _, arguments = cleandoc(base.__doc__ or "").partition("\nArgs:\n")
        entries = re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", arguments, re.MULTILINE)
        about |= {name: " ".join(told.split()) for name, told in entries}
        summary = text.partition("\n\n")[0].replace("\n", " ")
    return summary, about


if __name__ == "__main__":
    sys.exit(main())
