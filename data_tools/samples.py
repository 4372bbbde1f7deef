"""Shards as the commands read them: found by patterns, read sample for sample by their index."""

import glob
import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import braceexpand
import pyarrow as pa

from vlp.data.index import ShardIndex
from vlp.data.source import RawSample
from vlp.data.tar import DamagedShardError
from vlp.errors import InputError

TEXTS = ("txt", "json")


def find_shards(patterns: Sequence[str]) -> list[Path]:
    """The tars that folders, patterns and names stand for, each once, in the order given.

    Raises:
        InputError: a pattern that matches nothing, or is none.
    """
    found: dict[Path, Path] = {}  # by where it lies, and so its sidecars, however it is called
    for pattern in patterns:
        if "://" in pattern or pattern.startswith("pipe:"):
            raise InputError(f"{pattern}: only local shards can be read")
        try:
            names = list(braceexpand.braceexpand(pattern))
        except ValueError as error:
            raise InputError(f"{pattern}: {error}") from None
        for name in names:
            paths = [name] if os.path.lexists(name) else sorted(glob.glob(name)) or [name]
            for path in map(Path, paths):
                for tar in _tars(path):
                    found.setdefault(tar.parent.resolve() / tar.name, tar)
    return list(found.values())


def _tars(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such tar or folder")
    tars = sorted(file for file in path.iterdir() if file.suffix == ".tar" and file.name[0] != ".")
    if not tars:
        inside = sorted(file.name for file in path.iterdir())[:5]
        told = ", but " + ", ".join(inside) if inside else " and nothing else"
        below = any(file.is_dir() and any(file.glob("*.tar")) for file in path.iterdir())
        hint = f"; those of its folders are '{path}/*'" if below else ""
        raise InputError(f"{path}: holds no .tar{told}{hint}")
    return tars


def open_index(shard: Path) -> ShardIndex:
    """The index of a shard.

    Raises:
        InputError: it has none.
        DamagedShardError: the shard is not the one that was indexed, or the index is damaged.
    """
    try:
        return ShardIndex.read(str(shard))
    except FileNotFoundError as error:
        raise InputError(str(error)) from None
    except (pa.ArrowException, KeyError) as error:
        raise DamagedShardError(
            f"the index of {shard} cannot be read ({error}); write it again with: "
            f"python -m data_tools index {shard}"
        ) from None


def read_samples(shard: Path, extensions: Collection[str] | None = None) -> Iterator[RawSample]:
    """The samples of a shard in its order, with the members of these extensions, or all.

    Raises: as `open_index`, and OSError.
    """
    index = open_index(shard)
    columns = [index.table[name].to_pylist() for name in ("key", "src_sha256", "ext")]
    places = [index.table[name].to_pylist() for name in ("offset", "size")]
    with open(shard, "rb") as file:
        for key, digest, names, offsets, sizes in zip(*columns, *places, strict=True):
            members = {
                name: os.pread(file.fileno(), size, offset)
                for name, offset, size in zip(names, offsets, sizes, strict=True)
                if extensions is None or name in extensions
            }
            yield RawSample(str(shard), key, members, src_sha256=digest)


def source_sha256(shard: Path) -> str:
    """sha256 over the keys and the captions' hashes of a shard: what sidecars are joined by."""
    table = open_index(shard).table
    digest = hashlib.sha256()
    for column in ("key", "src_sha256"):
        for text in table[column].to_pylist():
            digest.update(text.encode() + b"\n")
    return digest.hexdigest()
