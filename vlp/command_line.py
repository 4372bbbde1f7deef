"""Commands as dataclasses of options, each with a function that runs it: one parser for all."""

import io
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from inspect import cleandoc
from typing import Any, NoReturn, get_type_hints

from jsonargparse import ArgumentParser, Namespace

from vlp.errors import InputError, RunError
from vlp.terminal import printable

Commands = Mapping[str, tuple[type[Any], Callable[[Any], int | None]]]
FAILED, MISUSED, INTERRUPTED = 1, 2, 130  # exit statuses
_OPTION = r"-(?!\d+$|\d*\.\d+$)[^ ]+"  # for argparse; a number is none, nor what has a space


class Parser(ArgumentParser):
    """Says in one line what is wrong with a command, and lets options interrupt lists."""

    def parse_args(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        **keywords: Any,  # noqa: ANN401 (as the base class has them)
    ) -> Namespace:
        """Read a command: what belongs to no option may stand before, between and after them."""
        several = [action for action in self._actions if action.nargs in ("*", "+")]
        if args is not None and not all(action.option_strings for action in several):
            args = self._lists_in_one_place(args)
        return super().parse_args(args, **keywords)

    def _lists_in_one_place(self, args: Sequence[str]) -> list[str]:
        """The same arguments, as argparse reads them: it ends a list at the first option."""
        flags = {flag: action for action in self._actions for flag in action.option_strings}
        options: list[str] = []
        alone: list[str] = []
        room = 0  # for values of the option before
        for place, argument in enumerate(args):
            if argument == "--":
                return [*options, "--", *alone, *args[place + 1 :]]
            if argument.partition("=")[0] in flags or re.fullmatch(_OPTION, argument):
                action = flags.get(argument)
                several = action is not None and action.nargs in ("*", "+")
                room = len(args) if several else int(action is not None and action.nargs != 0)
                options.append(argument)
            else:
                (options if room else alone).append(argument)
                room -= bool(room)
        return [*alone, *options]

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        own = getattr(ex, "subcommand_parser", None) or self
        program = own.prog.replace(" [options]", "")
        text = re.sub(r"<class '(\w+)'>", r"\1", " ".join(message.split())).rstrip(".")
        self.exit(MISUSED, f"error: {printable(text)}; see {program} --help\n")


def run(
    program: str,
    about: str | None,
    commands: Commands,
    *,
    arguments: Sequence[str] | None = None,
    failures: tuple[type[Exception], ...] = (),
) -> int:
    """Run a command line.

    Args:
        program: how it is called, for messages.
        about: what it is, for `--help`.
        commands: of each its options, a dataclass whose docstring tells of them under `Args`, and
            the function that takes them.
        arguments: default those of the process.
        failures: besides RunError and OSError, errors that mean that the work itself failed.

    Returns:
        The exit status: that of the command, 2 for input that cannot be used, 1 for a failure.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    _show_warnings()
    choice = _parser(program, about, commands).parse_args(arguments)
    options, command = commands[choice.subcommand]
    failed: tuple[type[Exception], ...] = (RunError, OSError, *failures)
    try:
        return command(options(**vars(choice[choice.subcommand]))) or 0
    except InputError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return MISUSED
    except failed as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("stopped; the same command continues from here", file=sys.stderr)
        return INTERRUPTED


class _Line(logging.Formatter):
    """A record of the log in the form of a command's errors."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {printable(record.message)}"


def _show_warnings() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Line())
    # this one has a handler of its own and would be shown twice
    handler.addFilter(lambda record: not record.name.startswith("huggingface_hub."))
    logging.basicConfig(handlers=[handler])


def _parser(program: str, about: str | None, commands: Commands) -> ArgumentParser:
    parser = Parser(prog=program, description=about, allow_abbrev=False)
    subcommands = parser.add_subcommands()
    for name, (options, _) in commands.items():
        summary, _ = _described(options)
        subcommands.add_subcommand(name, _command_parser(options), help=summary)
    return parser


def _command_parser(options: type[Any]) -> ArgumentParser:
    """The options of a dataclass, with dashes in their names; what is "positional" stands alone.

    So does a list of texts. Metadata "flags" name an option otherwise, e.g. by a word of Python;
    an option that is "repeated" takes one value each time, others of several values take all.
    """
    summary, about = _described(options)
    parser = Parser(description=summary)
    hints = get_type_hints(options)
    keywords: dict[str, Any]
    for field in _own_first(options):
        flags = field.metadata.get("flags", ("--" + field.name.replace("_", "-"),))
        if hints[field.name] is bool:
            parser.add_argument(*flags, action="store_true", help=about[field.name])
        elif field.metadata.get("positional"):
            optional: dict[str, Any] = {}
            if field.default is not MISSING:
                optional = {"nargs": "?", "default": field.default}
            hint = hints[field.name]
            parser.add_argument(field.name, type=hint, help=about[field.name], **optional)
        elif hints[field.name] == tuple[str, ...]:
            again = field.metadata.get("repeated", False)
            keywords = {"action": "append"} if again else {"nargs": "+"}
            parser.add_argument(
                *flags, dest=field.name, type=str, default=[], help=about[field.name], **keywords
            )
        elif hints[field.name] == list[str]:
            least = "+" if field.default_factory is MISSING else "*"
            keywords = {} if least == "+" else {"default": []}
            parser.add_argument(
                field.name, nargs=least, type=str, help=about[field.name], **keywords
            )
        else:
            required = field.default is MISSING
            keywords = {} if required else {"default": field.default}
            parser.add_argument(
                *flags,
                dest=field.name,
                type=hints[field.name],
                required=required,
                help=about[field.name],
                **keywords,
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
