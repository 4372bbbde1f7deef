"""The table beside a shard (img2dataset's .parquet), adapted to what `repair` kept of its tar."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.defects.ledger import Ledger

DROPPED = "dropped_by_repair"


def is_comparable(schema: pa.Schema) -> bool:
    """Whether a table names samples by their keys, with what became of them."""
    texts = {"key", "status"} & {field.name for field in schema if _is_text(field.type)}
    return len(texts) == 2


def adapt_table(source: Path, target: Path, ledger: Ledger) -> None:
    """Copy a table, with the keys and the status that its rows have now.

    A row of a sample that was dropped says so, with the code; a sample without a row gets one. A
    table that cannot be read, or has no keys, is copied as it is or left out.
    """
    try:
        table = pq.read_table(source)
    except pa.ArrowException:
        return _without_rows(target, ledger)
    if not is_comparable(table.schema):
        shutil.copyfile(source, target)
        return None
    keys = table["key"].to_pylist()
    statuses = table["status"].to_pylist()
    kept = {old: new for old, new in ledger.fates.items() if new}
    table = _with(table, "key", [kept.get(key, key) for key in keys])
    told = [
        "success" if key in kept else DROPPED if status == "success" else status
        for key, status in zip(keys, statuses, strict=True)
    ]
    if "error_message" in table.schema.names and _is_text(table.schema.field("error_message").type):
        messages = table["error_message"].to_pylist()
        for row, status in enumerate(told):
            if status == DROPPED:
                messages[row] = ledger.reasons.get(keys[row], "not in the tar")
        table = _with(table, "error_message", messages)
    table = _with(table, "status", told)
    rows = [new for old, new in kept.items() if old not in set(keys)]
    pq.write_table(pa.concat_tables([table, _rows(rows, table.schema)]), target)
    return None


def _without_rows(target: Path, ledger: Ledger) -> None:
    schema = pa.schema([("key", pa.string()), ("status", pa.string())])
    pq.write_table(_rows([new for new in ledger.fates.values() if new], schema), target)


def _rows(keys: Sequence[str], schema: pa.Schema) -> pa.Table:
    rows: list[dict[str, Any]] = [{"key": key, "status": "success"} for key in keys]
    nullable = pa.schema([field.with_nullable(True) for field in schema], schema.metadata)
    return pa.Table.from_pylist(rows, schema=nullable).cast(schema)


def _with(table: pa.Table, name: str, values: Sequence[str | None]) -> pa.Table:
    place = table.schema.get_field_index(name)
    field = table.schema.field(name)
    return table.set_column(place, field, pa.array(values, field.type))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
