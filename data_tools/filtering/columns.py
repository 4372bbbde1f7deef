"""The columns by which samples are judged: computed, of the table beside the shard, of sidecars."""

import difflib
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from data_tools.annotate import read_sidecar
from data_tools.lots import lot
from data_tools.samples import TEXTS, open_index, read_samples
from vlp.data.index import IMAGE_EXTENSIONS, sidecar_path
from vlp.data.source import RawSample, UnusableSampleError
from vlp.errors import InputError

_OF_TEXT = {
    "caption": pa.string(),
    "words": pa.int64(),
    "chars": pa.int64(),
    "language": pa.string(),
}
_SIZES = ("width", "height", "original_width", "original_height")
_COMPUTED = ("key", "shard", *_OF_TEXT, *_SIZES, "aspect", "lot")
_ONLY_COMPUTED = set(_COMPUTED) - set(_SIZES)  # whatever the table beside the shard has
_JOINED_BY = ("key", "src_sha256")


def sidecars_named(columns: Iterable[tuple[str, ...]], shard: Path) -> list[str]:
    """The sidecars that these columns belong to.

    Raises:
        InputError: a column is not there; the message has the choices.
    """
    return sorted({sidecar for sidecar, _ in _places(columns, shard) if sidecar})


def read_columns(columns: Iterable[tuple[str, ...]], shard: Path, seed: int) -> pa.Table:
    """A row for every sample in the order of the shard, with the columns that are named.

    A sidecar is a struct column of its name. What is not there is null, and so is NaN.

    Args:
        columns: each as its parts, such as ("words",) and ("scores", "clip_score").
        seed: for `lot`.

    Raises:
        InputError: a column is not there, or a sidecar or table cannot be read.
    """
    places = _places(columns, shard)
    index = open_index(shard).table
    own = {name for sidecar, name in places if not sidecar}
    sides = set(_SIZES[:2]) if "aspect" in own else set()
    there = set(_table_columns(shard))
    of_table = there & (own | sides) - _ONLY_COMPUTED
    found: dict[str, Any] = {"key": index["key"]}  # a table without columns would have no rows
    found |= _of_table(of_table, shard, index)
    found |= _computed(own - set(found), found, shard, seed)
    for sidecar in sorted({sidecar for sidecar, _ in places if sidecar}):
        names = sorted({name for other, name in places if other == sidecar and name})
        found[sidecar] = _of_sidecar(sidecar, names, shard, index)
    return pa.table({name: _without_nan(column) for name, column in found.items()})


def _places(columns: Iterable[tuple[str, ...]], shard: Path) -> set[tuple[str, str]]:
    """(sidecar, column) of each name, in the spelling of the files; the sidecar may be empty."""
    plain = {name.lower(): name for name in (*_table_columns(shard), *_COMPUTED)}
    sidecars = {name.lower(): name for name in _sidecars(shard)}
    found = set()
    for parts in columns:
        first = parts[0].lower()
        if first in plain:
            found.add(("", plain[first]))
            continue
        if first not in sidecars:
            raise _unknown(parts, shard)
        names = {name.lower(): name for name in _sidecar_columns(shard, sidecars[first])}
        second = parts[1].lower() if len(parts) > 1 else ""
        if second and second not in names:
            raise _unknown(parts, shard)
        found.add((sidecars[first], names[second] if second else ""))
    return found


def _unknown(parts: Sequence[str], shard: Path) -> InputError:
    wanted = ".".join(parts)
    choices = [*_COMPUTED, *(c for c in _table_columns(shard) if c not in _COMPUTED)]
    for sidecar in _sidecars(shard):
        shown = sidecar if sidecar.isidentifier() else f'"{sidecar}"'
        choices += [f"{shown}.{name}" for name in _sidecar_columns(shard, sidecar)]
    near = difflib.get_close_matches(wanted, choices, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    is_sidecar = len(parts) > 1 and parts[0].lower() not in map(str.lower, _sidecars(shard))
    lacking = f"sidecar {parts[0]}" if is_sidecar else f"column {wanted}"
    return InputError(
        f"{shard} has no {lacking}{hint}; choices: {', '.join(dict.fromkeys(choices))}"
    )


def _sidecars(shard: Path) -> list[str]:
    folder = shard.parent / "annotations"
    if not folder.is_dir():
        return []
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.name != "index" and (path / f"{shard.stem}.parquet").is_file()
    )


def _sidecar_columns(shard: Path, sidecar: str) -> list[str]:
    return [c for c in _names(sidecar_path(shard, sidecar)) if c not in _JOINED_BY]


def _table_columns(shard: Path) -> list[str]:
    """Of the table beside the shard, if there is one that knows keys."""
    path = shard.with_suffix(".parquet")
    names = _names(path) if path.is_file() else []
    return names if "key" in names else []


def _names(path: Path) -> list[str]:
    try:
        names: list[str] = pq.read_schema(path).names
    except pa.ArrowException as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    return names


def _of_table(names: set[str], shard: Path, index: pa.Table) -> dict[str, Any]:
    """Columns of the table beside the shard, which has rows also for what is in no shard."""
    if not names:
        return {}
    path = shard.with_suffix(".parquet")
    try:
        table = pq.read_table(path, columns=["key", *sorted(names)])
    except pa.ArrowException as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    rows = table.take(pc.index_in(index["key"], value_set=table["key"]))
    return {name: rows[name] for name in sorted(names)}


def _of_sidecar(sidecar: str, names: Sequence[str], shard: Path, index: pa.Table) -> pa.Array:
    """A struct for each sample; null where the sidecar has no row of its caption."""
    table = read_sidecar(shard, sidecar)
    lacking = [name for name in _JOINED_BY if name not in table.column_names]
    if lacking:
        raise InputError(f"{sidecar_path(shard, sidecar)} lacks the column {lacking[0]}")
    places = pc.index_in(_pairs(index), value_set=_pairs(table))
    rows = table.take(places)
    kept = [*names, _JOINED_BY[0]]  # a struct needs some field
    arrays = [_without_nan(_readable(rows[name])).combine_chunks() for name in kept]
    missing = pc.is_null(places).combine_chunks()
    return pa.StructArray.from_arrays(arrays, kept, mask=missing)


def _pairs(table: pa.Table) -> pa.ChunkedArray:
    columns = [table[name].cast(pa.string()) for name in _JOINED_BY]
    return pc.binary_join_element_wise(*columns, "\n")


def _readable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """float16, also in lists, as float32: DuckDB has none."""
    return column.cast(_without_half(column.type))


def _without_half(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_without_half(kind.value_type), kind.list_size)
    return pa.list_(_without_half(kind.value_type)) if pa.types.is_list(kind) else kind


def _without_nan(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """SQL takes NaN for the largest number; here it is none."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def _computed(
    names: set[str], known: Mapping[str, Any], shard: Path, seed: int
) -> dict[str, pa.Array]:
    """What can be told from keys, captions and the headers of pictures."""
    found: dict[str, pa.Array] = {}
    if "shard" in names:
        found["shard"] = pa.array([shard.stem] * len(known["key"]))
    if "lot" in names:
        found["lot"] = pa.array([lot(seed, key) for key in known["key"].to_pylist()])
    texts = [name for name in _OF_TEXT if name in names]
    if texts:
        rows = [_of_caption(sample, texts) for sample in read_samples(shard, TEXTS[:1])]
        found |= {name: pa.array([r[name] for r in rows], _OF_TEXT[name]) for name in texts}
    sizes = {name for name in _SIZES if name in names}
    sizes |= {n for n in _SIZES[:2] if "aspect" in names and n not in known}
    if sizes:
        pictures = [_size(sample) for sample in read_samples(shard, IMAGE_EXTENSIONS)]
        for name in sizes:  # nothing tells of another size than that of the picture
            side = [size[name.endswith("height")] for size in pictures]
            found[name] = pa.array(side, pa.int64())
    if "aspect" in names:
        sides = [{**known, **found}[name].to_pylist() for name in _SIZES[:2]]
        found["aspect"] = pa.array(
            [max(w, h) / min(w, h) if w and h else None for w, h in zip(*sides, strict=True)],
            pa.float64(),
        )
    return found


def _of_caption(sample: RawSample, names: Sequence[str]) -> dict[str, Any]:
    try:
        text = sample.caption
    except UnusableSampleError:
        return dict.fromkeys(names)
    measured = {"caption": text, "words": len(text.split()), "chars": len(text)}
    return measured | ({"language": _language(text)} if "language" in names else {})


def _language(text: str) -> str:
    """The ISO 639 code of the most likely language."""
    return str(_detector().classify(text)[0])


@cache
def _detector() -> Any:  # noqa: ANN401 (a module without types)
    try:
        import py3langid
    except ImportError:
        raise InputError(
            "the column language needs py3langid: pip install -e '.[curation]'"
        ) from None
    return py3langid


def _size(sample: RawSample) -> tuple[int | None, int | None]:
    """(width, height) in pixels, by the header; (None, None) of what is no picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(sample.image)) as image:
                return image.size
    # Pillow's readers raise anything from SyntaxError to struct.error
    except Exception:
        return None, None
