"""`index`: index sidecars for tars that something else wrote."""

from dataclasses import dataclass
from pathlib import Path

from data_tools.engine import Options, Run, own_part
from data_tools.samples import find_shards
from vlp.data.files import is_text
from vlp.data.index import sidecar_path, write_index
from vlp.data.leftovers import remove_leftovers
from vlp.data.tar import DamagedShardError


@dataclass(frozen=True, kw_only=True)
class Index(Options):
    """Write the index that training reads beside tars that exist already. Draws nothing.

    Args:
        shards: tars, folders of tars, or patterns such as 'data/{00000..00099}.tar' and
            'data/*.tar'.
    """

    shards: list[str]


def index(options: Index) -> None:
    """Run the command; damaged tars are named and passed over.

    Raises:
        InputError: nothing matches.
        RunError: some tars could not be indexed.
    """
    shards = own_part(find_shards(options.shards), options)
    run: Run[Path, int] = Run(_index_one, shards, options, what="indexing")
    samples = sum(run.results())
    failed = len(run.failures)
    print(
        f"{len(shards):,} shards = {len(shards) - failed:,} indexed + {failed:,} failed; "
        f"{samples:,} samples"
    )
    run.finish()


def _index_one(shard: Path) -> int:
    if not is_text(str(shard)):  # the parquet writer takes no such path
        raise DamagedShardError(f"{str(shard)!r}: the path is not UTF-8; rename it")
    remove_leftovers(sidecar_path(shard, "index"))
    return write_index(shard)
