"""Which sidecars and tables lie beside shards, and the schemas that hold those of all of them."""

import os
import pickle
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlp.data.index import sidecar_path
from vlp.errors import InputError

JOINED_BY = ("key", "src_sha256")
INDEX = "index"
_PLAIN_NAME = 100  # bytes of a member's name that every tar takes
_MARKS = (b"vlp_source", b"vlp_inputs", b"vlp_counts")  # true of the former shard alone


def sidecars_of(shard: Path) -> dict[str, pa.Schema]:
    """The sidecars of a shard besides its index, by name; work files of commands are none.

    Raises:
        InputError: one is no parquet file, or cannot be joined.
    """
    found: dict[str, pa.Schema] = {}
    for folder in _folders(shard):
        path = sidecar_path(shard, folder.name)
        if folder.name == INDEX or not path.is_file():
            continue
        schema = read_schema(path)
        lacking = [name for name in JOINED_BY if name not in schema.names]
        if lacking:
            raise InputError(f"{path}: lacks {', '.join(lacking)}, by which sidecars are joined")
        found[folder.name] = schema
    return found


def other_files(shard: Path) -> Iterator[Path]:
    """What lies in the folders of sidecars under the name of a shard, and is none."""
    for folder in _folders(shard):
        for path in sorted(folder.glob(f"{shard.stem}.*")):
            if path.suffix != ".parquet":
                yield path


def table_of(shard: Path) -> pa.Schema | None:
    """The schema of the table beside a shard, None without one.

    Raises:
        InputError: it is no parquet file, or its rows do not say whose they are.
    """
    path = shard.with_suffix(".parquet")
    if not path.is_file():
        return None
    schema = read_schema(path)
    texts = (pa.string(), pa.large_string())
    if "key" not in schema.names or schema.field("key").type not in texts:
        raise InputError(f"{path}: no column `key` of texts, so its rows belong to no sample")
    return schema


def read_schema(path: Path) -> pa.Schema:
    """Raises InputError for what is no parquet file."""
    try:
        # pickling renames the items of fixed-size lists, and workers must write the same names
        return pickle.loads(pickle.dumps(pq.read_schema(path)))
    except pa.ArrowException as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def unified(schemas: Mapping[Path, pa.Schema], what: str) -> pa.Schema:
    """One schema for the rows of several tables; a column that some lack is null there.

    Of the metadata stays what all have alike, without the marks that speak of one shard.

    Raises:
        InputError: a column has types that do not go together.
    """
    fields: dict[str, tuple[pa.DataType, Path]] = {}
    for path, schema in schemas.items():
        for field in schema:
            kind, first = fields.setdefault(field.name, (field.type, path))
            merged = _wider(kind, field.type)
            if merged is None:
                raise InputError(
                    f"{path}: {what} has {field.name} as {field.type}, but {first} as {kind}; "
                    "they cannot be put together, so move one away"
                )
            fields[field.name] = merged, first
    told = [set((schema.metadata or {}).items()) for schema in schemas.values()]
    shared = dict(set.intersection(*told)) if told else {}
    kept = {name: value for name, value in sorted(shared.items()) if name not in _MARKS}
    return pa.schema([(name, kind) for name, (kind, _) in fields.items()], kept or None)


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of both, None where they differ in more than width."""
    if one == other:
        return one
    if pa.types.is_null(one) or pa.types.is_null(other):
        return other if pa.types.is_null(one) else one
    if pa.types.is_list(one) and pa.types.is_list(other):
        inner = _wider(one.value_type, other.value_type)
        return None if inner is None else pa.list_(inner)
    if all(pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in (one, other)):
        return pa.large_string()
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in (one, other)):
        fields = [pa.schema([("x", kind)]) for kind in (one, other)]
        return pa.unify_schemas(fields, promote_options="permissive").field(0).type
    return None


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with the columns of a schema, null where it lacks them."""
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def joined(table: pa.Table, index: pa.Table, by: Sequence[str] = JOINED_BY) -> pa.ChunkedArray:
    """For each row of a table the row of its sample in an index, null where there is none."""
    return pc.index_in(_names(table, by), value_set=_names(index, by))


def _names(table: pa.Table, by: Sequence[str]) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(*(table[name].cast(pa.string()) for name in by), "\n")


def _folders(shard: Path) -> list[Path]:
    folder = shard.parent / "annotations"
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def common_names(shards: Sequence[Path]) -> list[str]:
    """The names of shards, with their folders where they lie in several."""
    folders = {shard.absolute().parent for shard in shards}
    around = os.path.commonpath(folders)
    return [str(shard.absolute().relative_to(around)) for shard in shards]


def check_member_names(shard: Path, index: pa.Table) -> None:
    """Raises InputError for a name that is too long for the tars that are written."""
    for key, names in zip(index["key"].to_pylist(), index["ext"].to_pylist(), strict=True):
        for name in names:
            if 4 * len(f"{key}.{name}") <= _PLAIN_NAME:  # however many bytes a character has
                continue
            info = tarfile.TarInfo(f"{key}.{name}")
            try:
                info.tobuf(tarfile.USTAR_FORMAT)
            except ValueError:
                raise InputError(
                    f"{shard}: the name {info.name!r} is too long for a plain tar; `reshard` with "
                    "--rekey gives new keys"
                ) from None
