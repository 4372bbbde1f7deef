"""`vlp COMMAND`: look into checkpoints, export them, and search with them."""

import sys
from collections.abc import Callable
from typing import Any

from vlp.command_line import run
from vlp.commands.embed import Embed, embed
from vlp.commands.export import Export, export
from vlp.commands.index import (
    Index,
    IndexAdd,
    IndexRefresh,
    IndexRemove,
    index,
    index_add,
    index_refresh,
    index_remove,
)
from vlp.commands.inspect import Inspect, inspect
from vlp.commands.search import Search, search
from vlp.commands.serve import Serve, serve
from vlp.data.tar import DamagedShardError

COMMANDS: dict[str, tuple[type[Any], Callable[[Any], int | None]]] = {
    "embed": (Embed, embed),
    "export": (Export, export),
    "index": (Index, index),
    "index-add": (IndexAdd, index_add),
    "index-remove": (IndexRemove, index_remove),
    "index-refresh": (IndexRefresh, index_refresh),
    "inspect": (Inspect, inspect),
    "search": (Search, search),
    "serve": (Serve, serve),
}


def main() -> int:
    """Run the command line; the exit code is 2 for input that cannot be used, 1 for a failure."""
    arguments = sys.argv[1:]
    if "-".join(arguments[:2]) in COMMANDS:  # `index add` is `index-add`
        arguments = ["-".join(arguments[:2]), *arguments[2:]]
    return run("vlp", __doc__, COMMANDS, arguments=arguments, failures=(DamagedShardError,))


if __name__ == "__main__":
    sys.exit(main())
