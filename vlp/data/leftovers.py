"""What killed runs leave half written, and when it may be removed."""

import os
import platform
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from vlp.data.files import Written, replace_atomically

_TEMPORARY = re.compile(r"\.(?P<file>.+)\.(?P<process>\d+)\.tmp")  # of `replace_atomically`
_ABANDONED = 3600.0  # seconds without a change, for processes that cannot be asked for


def replace_tidily(path: Path, write: Callable[[Path], Written]) -> Written:
    """`replace_atomically`, after what earlier runs left of this file half written is removed."""
    remove_leftovers(path)
    return replace_atomically(path, write)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of `replace_atomically` for a path whose writers have ended.

    A run that writes the same file at the same time keeps its own.
    """
    remove_leftovers_in(path.parent, lambda name: name.startswith(f".{path.name}."))


def remove_leftovers_in(folder: Path, are_own: Callable[[str], object] = bool) -> None:
    """The same for all files of a folder, if it is there, whose temporary names are `are_own`."""
    if not folder.is_dir():
        return
    for name in os.listdir(folder):  # names alone: a folder may hold all shards of a data set
        match = _TEMPORARY.fullmatch(name) if name[0] == "." else None
        if match and are_own(name) and _has_ended(folder / name, match):
            _remove(folder / name)


def _remove(left: Path) -> None:
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)  # another process may remove it at the same time
    else:
        left.unlink(missing_ok=True)


def _has_ended(left: Path, temporary: re.Match[str]) -> bool:
    """Whether its writer, a process of this machine or of another, has."""
    if temporary["file"].endswith(f".{platform.node()}"):
        return not _is_alive(int(temporary["process"]))
    try:
        return time.time() - left.stat().st_mtime > _ABANDONED
    except FileNotFoundError:
        return True


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # of another user
    try:  # containers often have nobody who takes leave of a dead process
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(") ")[2]
    except OSError:
        return True
    return not state.startswith("Z")
