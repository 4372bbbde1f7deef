"""Embeddings on disk in clip-retrieval's layout: ours, and those that it wrote itself.

img_emb/img_emb_P.npy or text_emb/text_emb_P.npy [n, D] float16 or float32, and
metadata/metadata_P.parquet with n rows, for any numbers P; embed.json, if we wrote it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vlp.errors import InputError
from vlp.retrieval.embedding.items import DataOptions, Say
from vlp.retrieval.manifest import Modality

STATE_FILE = "embed.json"
SCHEMA = 1
FOLDERS = {"image": "img_emb", "text": "text_emb"}
METADATA = "metadata"
_UNIT = 1e-2  # how far the length of a unit vector in float16 may be from 1
_ROWS = 65_536  # that are checked at a time


@dataclass(frozen=True)
class Pair:
    """Vectors and the table of their rows."""

    vectors: Path
    metadata: Path
    rows: int


@dataclass(frozen=True)
class EmbeddingsFolder:
    """Embeddings on disk; nothing but headers is read until they are asked for.

    Args:
        folder: where they are.
        model: source, fingerprint and name, if the folder says.
        modality: what the vectors are of. Rows without a caption are no texts.
        dim: D.
        rows: how many there are in all.
        pairs: of files, in order.
        data: what was embedded, if the folder says.
        options: how it was read.
        say: tells people what was changed.
    """

    folder: Path
    model: dict[str, Any] | None
    modality: Modality
    dim: int
    rows: int
    pairs: tuple[Pair, ...]
    data: str | None
    options: DataOptions
    say: Say

    def partitions(self) -> Iterator[tuple[NDArray[Any], pa.Table]]:
        """(unit vectors [n, D], table of n rows) of each pair of files; may be memory-mapped.

        Raises:
            InputError: a file that cannot be read, or vectors with NaN, infinity or only zeros.
        """
        for pair in self.pairs:
            if not pair.rows:
                continue
            vectors: NDArray[Any] = np.load(pair.vectors, mmap_mode="r", allow_pickle=False)
            table = _table(pair.metadata)
            if self.modality == "text" and "caption" in table.column_names:
                captioned = table["caption"].is_valid()
                if not all(captioned.to_pylist()):
                    vectors, table = vectors[captioned.to_numpy()], table.filter(captioned)
            yield self._unit(vectors, pair.vectors), table

    def _unit(self, vectors: NDArray[Any], path: Path) -> NDArray[Any]:
        """The vectors themselves where they have the length 1."""
        parts = range(0, len(vectors), _ROWS)
        norms = [
            np.linalg.norm(vectors[at : at + _ROWS].astype(np.float32), axis=1) for at in parts
        ]
        lengths = np.concatenate([np.empty(0, np.float32), *norms])
        wrong = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
        if len(wrong):
            told = "only zeros" if lengths[wrong[0]] == 0 else "NaN or infinity"
            raise InputError(f"{path}: row {wrong[0]} holds {told} ({len(wrong)} rows in all)")
        if np.all(np.abs(lengths - 1) < _UNIT):
            return vectors
        self.say(
            f"{path}: vectors of length {lengths.min():.3g} to {lengths.max():.3g} are normalised"
        )
        unit: NDArray[Any] = (vectors.astype(np.float32) / lengths[:, None]).astype(np.float16)
        return unit


def is_embeddings(folder: Path) -> bool:
    """Whether a folder looks like embeddings, finished or not."""
    places = (STATE_FILE, *FOLDERS.values())
    return any((folder / name).exists() for name in places)


def read_embeddings(
    folder: str | Path, modality: Modality = "image", say: Say = print
) -> EmbeddingsFolder:
    """Open embeddings.

    Args:
        folder: with img_emb or text_emb, and metadata.
        modality: whether pictures or captions are asked for.
        say: tells people what was changed.

    Raises:
        InputError: no such folder, files that do not fit one another, an unfinished job.
    """
    folder = Path(folder).expanduser()
    state = read_state(folder)
    if state is not None and not state.get("complete"):
        raise InputError(f"{folder} is not finished: run the same `vlp embed` again")
    pairs, dim = read_pairs(folder, modality)
    return EmbeddingsFolder(
        folder=folder,
        model=None if state is None else state["model"],
        modality=modality,
        dim=dim,
        rows=sum(_rows(pair, modality) for pair in pairs),
        pairs=pairs,
        data=None if state is None else state["data"]["source"],
        options=DataOptions() if state is None else DataOptions(**state["data"]["options"]),
        say=say,
    )


def read_state(folder: Path) -> dict[str, Any] | None:
    """embed.json, None where there is none.

    Raises:
        InputError: it cannot be read, or is of another version.
    """
    path = folder / STATE_FILE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        found = state.get("schema") if isinstance(state, dict) else state
        raise InputError(f"{path}: schema {found!r}; this version reads {SCHEMA}")
    return state


def read_pairs(folder: Path, modality: Modality) -> tuple[tuple[Pair, ...], int]:
    """(pairs of files in order, D), by their headers.

    Raises:
        InputError: files that do not fit one another.
    """
    name = FOLDERS[modality]
    vectors = _numbered(folder / name, name, "npy")
    tables = _numbered(folder / METADATA, METADATA, "parquet")
    if not vectors:
        _refuse(folder, modality)
    for number in sorted(vectors.keys() ^ tables.keys()):
        there = vectors.get(number) or tables[number]
        lacking = f"{METADATA}_{number}.parquet" if number in vectors else f"{name}_{number}.npy"
        raise InputError(f"{there} has no {lacking} that belongs to it")
    pairs, dims = [], dict[int, Path]()
    for number in sorted(vectors, key=lambda digits: (int(digits), len(digits))):
        path, metadata = vectors[number], tables[number]
        rows, dim = _shape(path)
        told = _open(metadata).metadata.num_rows
        if rows != told:
            raise InputError(f"{path} has {rows:,} rows, but {metadata} has {told:,}")
        dims.setdefault(dim, path)
        pairs.append(Pair(path, metadata, rows))
    if len(dims) > 1:
        shown = ", ".join(f"{path} has vectors of {dim} numbers" for dim, path in dims.items())
        raise InputError(f"{folder}: {shown}")
    return tuple(pairs), next(iter(dims))


def _refuse(folder: Path, modality: Modality) -> None:
    """Raises InputError, with what the folder has instead of vectors."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    wanted = FOLDERS[modality]
    others = [name for name in FOLDERS.values() if _numbered(folder / name, name, "npy")]
    hint = f"; it has {others[0]}" if others else ""
    raise InputError(f"{folder} has no {wanted}/{wanted}_NUMBER.npy{hint}")


def _numbered(folder: Path, stem: str, suffix: str) -> dict[str, Path]:
    """{digits: file} of the files STEM_DIGITS.SUFFIX."""
    pattern = re.compile(rf"{stem}_([0-9]+)\.{suffix}")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return {match[1]: folder / match[0] for name in names if (match := pattern.fullmatch(name))}


def _shape(path: Path) -> tuple[int, int]:
    """(rows, D) of a file of vectors, whose size shows that it is whole."""
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                header = np.lib.format.read_array_header_2_0
            shape, by_column, dtype = header(file)
            start = file.tell()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no file of vectors: {error}") from None
    if len(shape) != 2 or by_column or dtype not in (np.dtype("<f2"), np.dtype("<f4")):
        raise InputError(
            f"{path} holds {dtype} {list(shape)}: expected float16 or float32 [rows, numbers]"
        )
    expected, actual = start + shape[0] * shape[1] * dtype.itemsize, path.stat().st_size
    if actual != expected:
        raise InputError(f"{path} has {actual:,} bytes, but should have {expected:,}: it is cut")
    return shape[0], shape[1]


def _rows(pair: Pair, modality: Modality) -> int:
    file = _open(pair.metadata)
    if modality == "image" or "caption" not in file.schema_arrow.names:
        return pair.rows
    return pair.rows - int(file.read(columns=["caption"])["caption"].null_count)


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} is not readable as parquet: {error}") from None


def _table(path: Path) -> pa.Table:
    try:
        table = _open(path).read()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} is not readable as parquet: {error}") from None
    return table.drop_columns([n for n in table.column_names if n.startswith("__index_level_")])
