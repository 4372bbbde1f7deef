"""Folders of Milvus Lite, which one process at a time can open, and which it changes in place.

An index is searched by several processes while another adds to it. So a change makes a new folder
that shares the files which stay with the old one by hard links, and a reader opens a private folder
of links: nothing that a state of the index names ever changes.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from vlp.retrieval.folder import flush_names

_IMMUTABLE = (".parquet", ".idx")  # never changed once written; all others are small
_LOCK = "LOCK"


def continue_folder(old: Path, new: Path) -> None:
    """Make a folder that can be changed without changing the one that it begins as.

    Raises:
        FileNotFoundError: the old one is not there, or not whole.
    """
    _mirror(old, new, os.link)


def link_folder(old: Path, new: Path) -> None:
    """Make a folder to search the same files, of which the old one need not be writable.

    Raises:
        FileNotFoundError: the old one is not there.
    """
    _mirror(old.absolute(), new, os.symlink)


def flush_folder(folder: Path) -> None:
    """Have everything in a folder on the disk."""
    flush_names(folder, *(path for path in folder.rglob("*") if path.is_dir()))
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


def _mirror(old: Path, new: Path, link: Callable[[Path, Path], None]) -> None:
    new.mkdir()
    for entry in sorted(os.scandir(old), key=lambda entry: entry.name):
        target = new / entry.name
        if entry.is_dir():
            _mirror(Path(entry.path), target, link)
        elif entry.name.endswith(_IMMUTABLE):
            _link_or_copy(link, Path(entry.path), target)
        elif entry.name != _LOCK:
            shutil.copyfile(entry.path, target)


def _link_or_copy(link: Callable[[Path, Path], None], source: Path, target: Path) -> None:
    try:
        link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without such links
        shutil.copyfile(source, target)
