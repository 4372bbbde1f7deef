"""What hinders a change of an index, each for a process of its own."""

import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

from tests.vlp.retrieval.index_states import addition, silent, unit_vectors
from vlp.errors import RunError
from vlp.retrieval.query import Query
from vlp.retrieval.results import Hit
from vlp.retrieval.retriever import Retriever
from vlp.retrieval.store import Store


def search(folder: Path) -> list[Hit]:
    """As a command does."""
    query = Query(vectors=[unit_vectors(1)[0].astype(np.float32)], k=5)
    return Retriever.load(folder).search(query).hits


def use_read_only(folder: Path) -> None:
    """Print how many hits there are, and what a change says, where nothing can be written."""

    def refuse(event, arguments):
        if event == "open":
            path, _, flags = arguments
            changes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            path = arguments[0] if arguments else None
            changes = event in ("os.mkdir", "os.remove", "os.rename")
        if changes and isinstance(path, str | bytes) and os.fsdecode(path).startswith(str(folder)):
            raise OSError(30, "Read-only file system", path)

    sys.addaudithook(refuse)
    print(len(search(folder)))
    try:
        Store(folder).change(add=[addition(1)], say=silent)
    except RunError as error:
        print(error)


def change_on_full_disk(folder: Path, room: int) -> None:
    """Print what a change says when no file may be longer than some bytes."""
    store, unlimited = Store(folder), resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, unlimited))
    try:
        store.change(add=[addition(500)], remove=[8], say=silent)
    except RunError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
        print(error)


def write_without_end(folder: Path, begun: Path) -> None:
    """Be the writer, and make a file as soon as that is so."""
    with Store(folder).exclusive():
        begun.touch()
        time.sleep(60)
