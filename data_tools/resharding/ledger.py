"""What an output folder says of all that is not in its shards."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.resharding.layout import Layout
from data_tools.resharding.survey import table_rows
from data_tools.samples import open_index
from vlp.data.files import write_text
from vlp.data.leftovers import remove_leftovers, replace_tidily

DROPPED = "dropped.parquet"
NOT_FOUND = "ids_not_found.txt"
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("shard", "key", "src_sha256", "reason", "row")]
)


def write_dropped(folder: Path, shards: Sequence[Path], names: Sequence[str], plan: Layout) -> int:
    """Write every dropped sample, and every row of a table that is of no sample, with the reason.

    `row` is the table's row as JSON. Nothing is written where there is none. Returns their number.

    Args:
        names: how the shards are called there.
    """
    total = 0

    def write(path: Path) -> None:
        nonlocal total
        with pq.ParquetWriter(path, _SCHEMA) as writer:
            for number, (shard, name) in enumerate(zip(shards, names, strict=True)):
                first, end = plan.starts[number : number + 2]
                reasons = [
                    plan.reasons[place] if place >= 0 else None
                    for place in plan.reason[first:end].tolist()
                ]
                rows = [{"shard": name} | row for row in _dropped(shard, reasons)]
                if rows:
                    total += len(rows)
                    writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))

    replace_tidily(folder / DROPPED, write)
    if not total:
        (folder / DROPPED).unlink()
    return total


def write_not_found(folder: Path, not_found: Mapping[str, Sequence[str]]) -> None:
    """Write what lists name and no sample has, one a line; nothing where there is none."""
    names = sorted({name for found in not_found.values() for name in found})
    if names:
        remove_leftovers(folder / NOT_FOUND)
        write_text(folder / NOT_FOUND, "".join(f"{name}\n" for name in names))


def _dropped(shard: Path, reasons: Sequence[str | None]) -> Iterator[dict[str, Any]]:
    index = open_index(shard).table
    has_row, others = table_rows(shard, index)
    if not others and not any(reasons):
        return
    path = shard.with_suffix(".parquet")
    table = pq.read_table(path) if path.is_file() else None
    dropped = np.flatnonzero([reason is not None for reason in reasons])
    samples = index.select(["key", "src_sha256"]).take(dropped).to_pylist()
    for sample, head in zip(dropped.tolist(), samples, strict=True):
        yield head | {"reason": reasons[sample], "row": _json(table, int(has_row[sample]))}
    for row, reason in others.items():
        key = None if table is None else table["key"][row].as_py()
        yield {"key": key, "src_sha256": None, "reason": reason, "row": _json(table, row)}


def _json(table: pa.Table | None, row: int) -> str | None:
    if table is None or row < 0:
        return None
    values = table.slice(row, 1).to_pylist()[0]
    return json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)
