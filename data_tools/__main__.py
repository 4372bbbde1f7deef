"""`python -m data_tools COMMAND`: make, check, enrich and curate shards."""

import sys
from collections.abc import Callable
from typing import Any

from data_tools.balance import Balance, balance
from data_tools.build import Build, build
from data_tools.counts import Counts, counts
from data_tools.dedup import Dedup, dedup
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
from data_tools.validate import Validate, validate
from vlp.command_line import run
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
    return run("python -m data_tools", __doc__, COMMANDS, failures=(DamagedShardError,))


if __name__ == "__main__":
    sys.exit(main())
