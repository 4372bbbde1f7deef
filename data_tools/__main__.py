"""`python -m data_tools COMMAND`: make, index and inspect shards."""

import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

import docstring_parser
from jsonargparse import ArgumentParser

from data_tools.build import Build, build
from data_tools.errors import InputError, RunError
from data_tools.index import Index, index
from data_tools.shapes import Shapes, shapes

COMMANDS: dict[str, tuple[type[Any], Callable[[Any], None]]] = {
    "build": (Build, build),
    "index": (Index, index),
    "shapes": (Shapes, shapes),
}


def main() -> int:
    """Run the command line; the exit code is 2 for input that cannot be used, 1 for a failure."""
    choice = _parser().parse_args()
    options, command = COMMANDS[choice.subcommand]
    try:
        command(options(**vars(choice[choice.subcommand])))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command continues from here", file=sys.stderr)
        return 130
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m data_tools", description=__doc__)
    subcommands = parser.add_subcommands()
    for name, (options, _) in COMMANDS.items():
        subcommands.add_subcommand(name, _command_parser(options))
    return parser


def _command_parser(options: type[Any]) -> ArgumentParser:
    """The options of a dataclass, with dashes in their names; a list is what stands alone."""
    text = docstring_parser.parse(options.__doc__ or "")
    about = {item.arg_name: item.description for item in text.params}
    parser = ArgumentParser(description=text.short_description)
    hints = get_type_hints(options)
    for field in fields(options):
        flag = "--" + field.name.replace("_", "-")
        if hints[field.name] is bool:
            parser.add_argument(flag, action="store_true", help=about[field.name])
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


if __name__ == "__main__":
    sys.exit(main())
