"""What killed runs leave half written beside a file, and when it may be removed."""

import os
import platform
import time
from pathlib import Path

_ABANDONED = 3600.0  # seconds without a change, for processes that cannot be asked for


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of `replace_atomically` for a path whose writers have ended.

    A run that writes the same file at the same time keeps its own.
    """
    if not path.parent.is_dir():
        return
    for left in path.parent.iterdir():
        head, _, writer = left.name.removesuffix(".tmp").partition(f".{path.name}.")
        if left.name.endswith(".tmp") and writer and not head and _has_ended(left, writer):
            left.unlink(missing_ok=True)


def _has_ended(left: Path, writer: str) -> bool:
    machine, _, process = writer.rpartition(".")
    if machine == platform.node() and process.isdecimal():
        return not _is_alive(int(process))
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
