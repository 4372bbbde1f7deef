"""The folder of an index as its writers treat it: one at a time, and nothing left behind."""

import contextlib
import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vlp.errors import InputError, RunError
from vlp.retrieval.manifest import MANIFEST_FILE, Manifest
from vlp.retrieval.snapshot import SEGMENTS

BACKGROUND_FILE = "background.npz"
_LOCK = ".lock"
_SUFFIXES = (".vectors.npy", ".hubness.npy", ".metadata.arrow")
_NUMBERED = (  # by the change that wrote it
    r"removed-\d{6,}\.npy|aside-\d{6,}\.arrow|backend-[a-z]+-\d{6,}[-.].+"
    r"|\d{6,}-\d+\.(vectors\.npy|hubness\.npy|metadata\.arrow)"
)
_SWEPT = re.compile(  # also what `replace_atomically` leaves when it is killed
    rf"{_NUMBERED}|\.({_NUMBERED}|[a-z-]+\.(json|npz))\..*\.\d+\.tmp"
)
_OF_CREATION = re.compile(  # what is there before there is an index
    rf"\{_LOCK}|{re.escape(BACKGROUND_FILE)}"
    rf"|\.({re.escape(BACKGROUND_FILE)}|{re.escape(MANIFEST_FILE)})\..*\.tmp"
)
_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Exclude other writers; the lock ends with the process at the latest.

    Raises:
        RunError: there is one, or the folder cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(open(folder / _LOCK, "ab"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"another process is changing {folder}: try later") from None
        except OSError as error:
            raise RunError(f"{folder} cannot be changed: {error.strerror}") from error
        yield


def check_free(folder: Path) -> None:
    """Raise InputError if a new index cannot lie in a folder; leftovers of a killed run may."""
    if (folder / MANIFEST_FILE).exists():
        raise InputError(f"{folder} is an index already")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is no folder")
    names = os.listdir(folder) if folder.exists() else []
    foreign = [name for name in names if not _OF_CREATION.fullmatch(name)]
    if foreign:
        raise InputError(f"{folder} is not empty (e.g. {min(foreign)})")


def flush_names(*folders: Path) -> None:
    """Have the names of the files in some folders on the disk.

    Without, a machine that loses power may forget a rename but not what was removed after it.
    """
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:  # by some network file systems
                raise
        finally:
            os.close(descriptor)


def sweep(folder: Path, manifest: Manifest) -> None:
    """Remove files that a manifest does not name: of states before, and of killed writers.

    What is not named as an index names its files is left alone; what cannot be removed waits for
    the next writer.
    """
    named = {f"{SEGMENTS}/{s.name}{suffix}" for s in manifest.segments for suffix in _SUFFIXES}
    named |= {str(manifest.removed), str(manifest.aside), *manifest.backend.state.get("files", ())}
    for path in (*folder.iterdir(), *(folder / SEGMENTS).glob("*")):
        if not _SWEPT.fullmatch(path.name) or path.relative_to(folder).as_posix() in named:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
