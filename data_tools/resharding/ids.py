"""Lists of samples: keys (.txt, .jsonl, .csv, .tsv, .parquet) or DataComp's uids (.npy)."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_tools.tables import SUFFIXES, read_rows
from vlp.errors import InputError

ID = np.dtype("u8,u8")  # 128 bits: a uid, the first half the higher, or the hash of a key
Ids = NDArray[np.void]
_KEY = "key"


@dataclass(frozen=True)
class IdList:
    """What a list names, each once."""

    option: str  # for messages: the option and the file
    ids: Ids  # [N] ascending
    names: Sequence[str]  # [N] as the list has them
    repeated: Sequence[str]  # what it names more than once, each once
    is_uids: bool
    sha256: str  # of what it names


def key_ids(keys: Sequence[str]) -> Ids:
    """[N] The hashes of keys; among 10^12 keys two are alike with a chance of 10^-15."""
    data = b"".join(hashlib.blake2b(key.encode(), digest_size=16).digest() for key in keys)
    return np.frombuffer(data, ID)


def read_ids(option: str, path: Path) -> IdList:
    """Read a list.

    Args:
        option: that named it, for messages.

    Raises:
        InputError: a file of another kind, without keys, or that holds nothing.
    """
    where = f"{option} {path}"
    if path.suffix == ".npy":
        ids, names = _uids(where, path)
    else:
        names = list(_keys(where, path))
        ids = key_ids(names)
    if not len(ids):
        raise InputError(f"{where}: the list is empty")
    unique, first, counts = np.unique(ids, return_index=True, return_counts=True)
    repeated = sorted(names[place] for place in first[counts > 1])
    return IdList(
        option=where,
        ids=unique,
        names=[names[place] for place in first],
        repeated=repeated,
        is_uids=path.suffix == ".npy",
        sha256=hashlib.sha256(unique.tobytes()).hexdigest(),
    )


def is_among(ids: Ids, known: Ids) -> NDArray[np.bool_]:
    """[N] Which of N ids are among `known`, which are ascending."""
    if not len(known):
        return np.zeros(len(ids), bool)
    places = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    found: NDArray[np.bool_] = known[places] == ids
    return found


def _keys(where: str, path: Path) -> Iterator[str]:
    if path.suffix == ".txt":
        yield from _lines(where, path)
        return
    if path.suffix.lower() not in SUFFIXES:
        choices = ", ".join((".txt", *SUFFIXES, ".npy"))
        raise InputError(f"{where}: expected a name that ends in {choices}")
    try:
        for row in read_rows(path, {_KEY}):
            key = row.values.get(_KEY)
            if not isinstance(key, str):
                raise InputError(
                    f"{row.place}: expected a text in the column {_KEY!r}, got {key!r:.40}; "
                    f"the columns are: {', '.join(row.values)}"
                )
            yield key
    except OSError as error:
        raise InputError(f"{where}: {error.strerror}") from None


def _lines(where: str, path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: {error}") from None
    yield from filter(None, (line.strip() for line in text.split("\n")))


def _uids(where: str, path: Path) -> tuple[Ids, Sequence[str]]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{where}: {error}") from None
    if array.ndim != 1 or array.dtype.newbyteorder("=") != ID:
        raise InputError(
            f"{where}: expected one column of dtype 'u8,u8', DataComp's halves of uids, "
            f"got {array.dtype} {array.shape}"
        )
    ids = array.astype(ID)
    return ids, [f"{high:016x}{low:016x}" for high, low in ids.tolist()]
