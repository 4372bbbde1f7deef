"""What stands beside indexed shards in `annotations/NAME/SHARD.parquet`, for a whole data set."""

from collections.abc import Sequence
from dataclasses import dataclass

from eval.datasets.dataset import EvalDataset
from vlp.data.index import sidecar_path
from vlp.data.sidecars import Row, Table, expected


@dataclass(frozen=True)
class Sidecar:
    """The rows of a data set's samples."""

    rows: list[Row | None]  # [n], None for a sample without one
    stale: int  # samples whose row belongs to another source caption


def has_sidecar(dataset: EvalDataset, name: str) -> bool:
    """Whether any shard of the data set has it."""
    return any(sidecar_path(shard, name).is_file() for shard in _shards(dataset))


def read_sidecar(dataset: EvalDataset, name: str, columns: Sequence[str]) -> Sidecar:
    """The rows that a sidecar has for the samples of a data set.

    Raises:
        ValueError: a layout without sidecars, a shard without this one, or one that is no table
            with these columns.
    """
    if dataset.sources is None:
        raise ValueError(
            f"data {dataset.path} ({dataset.layout}): needs the sidecar {name}, which only indexed "
            f"shards have: annotations/{name}/SHARD.parquet, {expected(columns)}"
        )
    tables = {shard: _table(dataset, shard, name, columns) for shard in _shards(dataset)}
    rows: list[Row | None] = []
    stale = 0
    for source in dataset.sources:
        table = tables[source.shard]
        rows.append(table.row(source.key, source.src_sha256))
        stale += table.is_stale(source.key, source.src_sha256)
    return Sidecar(rows, stale)


def _table(dataset: EvalDataset, shard: str, name: str, columns: Sequence[str]) -> Table:
    path = sidecar_path(shard, name)
    if not path.is_file():
        raise ValueError(
            f"{path} is missing: {expected(columns)} (docs/data.md, Sidecars; "
            "`python -m data_tools shapes` writes such ones)"
        )
    known = (path, tuple(columns))
    if known not in dataset.tables:
        dataset.tables[known] = Table(path, columns)
    return dataset.tables[known]


def _shards(dataset: EvalDataset) -> list[str]:
    return list(dict.fromkeys(source.shard for source in dataset.sources or ()))
