"""What stands beside indexed shards in `annotations/NAME/SHARD.parquet`, joined to the samples.

A row belongs to a sample if its key and the sha256 of its source caption agree; another row's
content is never used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eval.datasets.dataset import EvalDataset, Source
from vlp.data.index import sidecar_path

Row = dict[str, Any]
_JOINED_BY = ("key", "src_sha256")


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
    expected = f"a parquet file with the columns {', '.join([*_JOINED_BY, *columns])}"
    if dataset.sources is None:
        raise ValueError(
            f"data {dataset.path} ({dataset.layout}): needs the sidecar {name}, which only indexed "
            f"shards have: annotations/{name}/SHARD.parquet, {expected}"
        )
    found: dict[Source, Row] = {}
    keys: set[tuple[str, str]] = set()
    for shard in _shards(dataset):
        path = sidecar_path(shard, name)
        if not path.is_file():
            raise ValueError(
                f"{path} is missing: {expected} (docs/data.md, Sidecars; "
                "`python -m data_tools shapes` writes such ones)"
            )
        for row in _rows(path, [*_JOINED_BY, *columns], expected):
            found[Source(shard, row["key"], row["src_sha256"])] = row
            keys.add((shard, row["key"]))
    rows = [found.get(source) for source in dataset.sources]
    stale = sum(
        row is None and (source.shard, source.key) in keys
        for row, source in zip(rows, dataset.sources, strict=True)
    )
    return Sidecar(rows, stale)


def _shards(dataset: EvalDataset) -> list[str]:
    return list(dict.fromkeys(source.shard for source in dataset.sources or ()))


def _rows(path: Path, columns: list[str], expected: str) -> list[Row]:
    try:
        lacking = set(columns) - set(pq.read_schema(path).names)
        if lacking:
            raise ValueError(f"{path} lacks {', '.join(sorted(lacking))}; expected {expected}")
        rows: list[Row] = pq.read_table(path, columns=columns).to_pylist()
    except pa.ArrowException as error:
        raise ValueError(f"{path} cannot be read: {error}; expected {expected}") from None
    return rows
