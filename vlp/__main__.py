"""`vlp COMMAND`: look into checkpoints, export them, and search with them."""

import sys
from collections.abc import Callable
from typing import Any

from vlp.command_line import run
from vlp.data.tar import DamagedShardError

COMMANDS: dict[str, tuple[type[Any], Callable[[Any], int | None]]] = {}


def main() -> int:
    """Run the command line; the exit code is 2 for input that cannot be used, 1 for a failure."""
    arguments = sys.argv[1:]
    if " ".join(arguments[:2]) in COMMANDS:  # `index add`: a command of two words
        arguments = [" ".join(arguments[:2]), *arguments[2:]]
    return run("vlp", __doc__, COMMANDS, arguments=arguments, failures=(DamagedShardError,))


if __name__ == "__main__":
    sys.exit(main())
