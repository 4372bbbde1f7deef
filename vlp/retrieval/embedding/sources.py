"""Data as people have them, to a list of pictures: a folder, tables, or indexed shards."""

import glob
import os
from pathlib import Path

import braceexpand

from vlp.errors import InputError
from vlp.retrieval.embedding import folders, table_files
from vlp.retrieval.embedding.folders import find_pictures, read_folder, read_single
from vlp.retrieval.embedding.items import DataOptions, Item, Say
from vlp.retrieval.embedding.shards import read_shards
from vlp.retrieval.embedding.table_files import read_tables

__all__ = ["DataOptions", "Item", "open_data"]

KINDS = "a folder of pictures, a .csv, .tsv, .jsonl or .parquet table, or indexed .tar shards"


def open_data(data: str, options: DataOptions, say: Say = print) -> list[Item]:
    """The pictures of the data, in a fixed order; none is opened yet.

    Args:
        data: folder of pictures; CSV, TSV, JSON Lines or parquet; a tar, a folder or a pattern of
            indexed tars, or a folder of such folders, which are its splits.
        options: how tables are read.
        say: tells people what was found.

    Raises:
        InputError: nothing is there, or it cannot be read; the message names the file.
        DamagedShardError: a shard is not the one that was indexed.
    """
    path = Path(data).expanduser()
    if os.path.isdir(path):
        return _folder(data, path, options, say)
    files = [path] if os.path.lexists(path) else _matches(data)
    suffixes = {file.suffix.lower() for file in files}
    if suffixes <= {".tar"}:
        _check_no_options(data, options)
        several = len({file.parent for file in files}) > 1
        return read_shards(data, [(f, f.parent.name if several else None) for f in files], say)
    if len(suffixes) == 1 and suffixes <= set(table_files.SUFFIXES):
        return read_tables(data, files, options, say)
    if len(files) == 1 and suffixes <= set(folders.SUFFIXES):
        _check_no_options(data, options)
        return read_single(files[0], say)
    found = ", ".join(sorted(suffix or "files without a suffix" for suffix in suffixes))
    raise InputError(f"{data}: {found} cannot be read as data; it must be {KINDS}")


def _folder(data: str, path: Path, options: DataOptions, say: Say) -> list[Item]:
    shards: list[tuple[Path, str | None]] = [(tar, None) for tar in _tars(path)]
    if not shards:
        below = sorted(f for f in path.iterdir() if f.is_dir() and f.name[0] != ".")
        shards = [(tar, folder.name) for folder in below for tar in _tars(folder)]
    if shards:
        _check_no_options(data, options)
        return read_shards(data, shards, say)
    found = find_pictures(path)
    if found.parquets and not (found.pictures or found.shards):
        return read_tables(data, sorted(found.parquets), options, say)
    _check_no_options(data, options)
    return read_folder(path, found, say)


def _tars(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}") from None
    return [folder / name for name in names if name.endswith(".tar") and name[0] != "."]


def _matches(data: str) -> list[Path]:
    """The files that a pattern stands for, in its order.

    Raises:
        InputError: one is missing.
    """
    if "://" in data or data.startswith("pipe:"):
        raise InputError(f"{data}: only local data are read")
    try:
        names = [os.path.expanduser(name) for name in braceexpand.braceexpand(data)]
    except ValueError as error:
        raise InputError(f"{data}: {error}") from None
    files = [file for name in names for file in (sorted(glob.glob(name)) or [name])]
    missing = [file for file in files if not os.path.isfile(file)]
    if missing:
        several = f" ({len(missing):,} of {len(files):,} files)" if len(files) > 1 else ""
        raise InputError(f"{missing[0]}: no such file or folder{several}; data are {KINDS}")
    return [Path(file) for file in dict.fromkeys(files)]


def _check_no_options(data: str, options: DataOptions) -> None:
    given = [
        f"--{name.replace('_', '-')}" for name, value in vars(options).items() if value is not None
    ]
    if given:
        raise InputError(f"{' and '.join(given)}: {data} is no table")
