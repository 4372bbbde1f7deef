"""Files that are either whole or absent: written under a temporary name, flushed, renamed."""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Written = TypeVar("Written")


def replace_atomically(path: Path, write: Callable[[Path], Written]) -> Written:
    """Let `write` fill a temporary file beside `path`, flush it to the disk and rename it.

    Returns what `write` returns. The folder of `path` is created. On any error the temporary file
    is removed and `path` is as it was. The temporary name holds machine and process, as several may
    share a folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")
    try:
        written = write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return written


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 (what json accepts has no useful type)
    """Write JSON with sorted keys, atomically; NaN is refused, as it is not JSON."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """Write any string as UTF-8, atomically, by `encode`."""
    replace_atomically(path, lambda temporary: temporary.write_bytes(encode(text)))


def encode(text: str) -> bytes:
    r"""UTF-8 of any string; a byte of a file name that is no UTF-8 becomes `\udcXX`, as in JSON."""
    return text.encode("utf-8", "backslashreplace")


def is_text(name: str) -> bool:
    """Whether a name is Unicode, and not bytes of another encoding that the system passed on."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes as hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
