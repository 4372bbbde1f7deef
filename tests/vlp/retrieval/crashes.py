"""Changes of an index, and processes that end right before one of their operations on files.

They end as a SIGKILL would end them: nothing is caught and nothing tidied up.
"""

import os
import threading
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tests.vlp.retrieval.index_states import addition, silent
from tests.vlp.retrieval.processes import crash_before, crashes
from vlp.retrieval.store import Store

OPERATIONS = ("replace", "rename", "unlink", "remove", "rmdir", "link", "mkdir")
OPTIONS = {"exact": {}, "faiss": {"factory": "HNSW8,Flat"}, "milvus": {}}


def add(store: Store, backend: str) -> None:
    """New rows that are joined with earlier ones, and some of these are removed."""
    store.change(add=[addition(40, 2)], remove=[0, 3], say=silent)


def remove(store: Store, backend: str) -> None:
    """A few: they stay in the files."""
    store.change(remove=[1], say=silent)


def compact(store: Store, backend: str) -> None:
    """So many are removed that what is left moves together."""
    store.change(remove=np.arange(20, 60), say=silent)


def rebuild(store: Store, backend: str) -> None:
    """The same backend afresh."""
    store.rebuild(backend, OPTIONS[backend], silent)


def leave(store: Store, backend: str) -> None:
    """Another backend takes over."""
    store.rebuild("exact", {}, silent)


CHANGES = (add, remove, compact, rebuild, leave)


def crash(folder: Path, change: str, backend: str, operation: int) -> bool:
    """Change an index in a process that ends before its given operation, counted from 1.

    Returns:
        Whether it came to that; else the change is done.
    """
    return crashes(_run_until, folder, change, backend, operation)


def _run_until(folder: Path, change: str, backend: str, operation: int) -> None:
    tqdm.set_lock(threading.RLock())  # its own would be missed when the process has ended
    crash_before(operation, OPERATIONS)
    globals()[change](Store(folder), backend)
    os._exit(0)
