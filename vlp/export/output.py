"""An exported folder, which is either the old one, the new one, or absent: never half of one."""

import ctypes
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vlp.data.leftovers import remove_leftovers
from vlp.errors import InputError, RunError
from vlp.published import COMPLETE_FILE

MARK = "vlp_export.json"  # says of a folder that it is an export, and of what
_EXCHANGE, _HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux
Filled = TypeVar("Filled")


def check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse a place that an export may not be written to.

    Raises:
        InputError: a file, a place inside a checkpoint, or a folder with anything else than an
            earlier export, as it was written, that may be replaced.
    """
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise InputError(f"--output {output}: there is a file or a link, and no folder")
    _check_parents(output)
    if not output.exists():
        return
    if output.samefile(Path.cwd()):
        raise InputError(f"--output {output}: it is replaced as a whole, and you are in it")
    if not any(output.iterdir()):
        return
    if not overwrite:
        raise InputError(
            f"--output {output}: the folder is not empty; --overwrite replaces an earlier export"
        )
    written = _written(output)
    if written is None:
        raise InputError(
            f"--output {output}: the folder is no earlier export (it has no {MARK}), so "
            "--overwrite does not replace it"
        )
    if other := sorted(name for name, _ in files_of(output).items() - written.items()):
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        raise InputError(
            f"--output {output}: --overwrite would remove what was added or edited since the "
            f"export: {', '.join(other[:3])}{more}; move it away, or choose another folder"
        )


def _check_parents(output: Path) -> None:
    for parent in Path(os.path.abspath(output)).parents:
        if (parent / COMPLETE_FILE).is_file():
            raise InputError(
                f"--output {output}: it is inside the checkpoint {parent}, and would go when a "
                "newer one takes its place"
            )


def _written(folder: Path) -> dict[str, int] | None:
    """The files that an export wrote here, as `files_of` gives them; None if none did."""
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    files = mark.get("files") if isinstance(mark, dict) else None
    return files if isinstance(files, dict) else None


def files_of(folder: Path) -> dict[str, int]:
    """Of all files below a folder the names and bytes, that which marks it as an export apart."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
    found.pop(MARK, None)
    return found


def write_folder(output: Path, fill: Callable[[Path], Filled]) -> Filled:
    """Let `fill` write a temporary folder beside `output`, then make it `output`.

    Returns what `fill` returns. On any error the temporary folder is removed, and `output` is as it
    was.

    Raises:
        RunError: the disk has no room, or no permission.
    """
    output = Path(os.path.abspath(output))
    output.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(output)
    temporary = output.with_name(f".{output.name}.{platform.node()}.{os.getpid()}.tmp")
    try:
        temporary.mkdir()
        filled = fill(temporary)
        for path in temporary.rglob("*"):
            if path.is_file():
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
        _put(temporary, output)
    except OSError as error:
        raise RunError(f"{output} could not be written: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # after an exchange it is the old folder
    return filled


def _put(temporary: Path, output: Path) -> None:
    """Rename, at once with what is there if anything is."""
    if not output.exists() or not any(output.iterdir()):
        os.replace(temporary, output)  # which may replace an empty folder
    elif not _exchange(temporary, output):
        old = temporary.with_suffix(".old.tmp")
        os.replace(output, old)
        os.replace(temporary, output)
        shutil.rmtree(old)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step, where the system can."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    done: int = rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE)
    return done == 0
