"""What finds the nearest rows of an index."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vlp.errors import InputError
from vlp.retrieval.manifest import BackendMark
from vlp.retrieval.snapshot import Mask, Rows, Snapshot

Scores = NDArray[np.float32]
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of an index that is about to be committed.

    Args:
        folder: of the index, for files of the backend's own; a new state never overwrites a file
            that an old one names.
        after: the rows as they will be.
        first_new_row: rows from here on are new; 0 when all is to be built afresh.
        options: of the backend.
        state: what the last `update` returned; empty when all is to be built afresh.
        generation: of the new state, for names of files.
        say: prints a line for people.
    """

    folder: Path
    after: Snapshot
    first_new_row: int
    options: Mapping[str, Any]
    state: Mapping[str, Any]
    generation: int
    say: Say


class Backend(ABC):
    """Searches one snapshot.

    Args:
        snapshot: whose rows are searched.
        options: as they were given when the index was built.
        state: what `update` returned for this snapshot.
    """

    name: ClassVar[str]

    def __init__(
        self, snapshot: Snapshot, options: Mapping[str, Any], state: Mapping[str, Any]
    ) -> None:
        self.snapshot = snapshot
        self.options = options
        self.state = state

    @classmethod
    @abstractmethod
    def check(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with defaults filled in.

        Raises:
            InputError: an unknown or unusable option, a package that is not installed, or a server
                that does not answer.
        """

    @classmethod
    @abstractmethod
    def update(cls, change: Change) -> dict[str, Any]:
        """Make files or a collection fit the new rows, before the change is committed.

        What is written must not disturb readers of the old state, and a change that is never
        committed must leave nothing that is found. Files are named in the state under "files",
        relative to the folder; others are removed after the commit.

        Returns:
            The state for the manifest, as JSON has it.

        Raises:
            RunError: a server is away, the disk is full.
        """

    @abstractmethod
    def search(self, queries: Scores, k: int, allowed: Mask) -> tuple[Scores, Rows]:
        """The rows with the largest inner products.

        Args:
            queries: [q, D] float32, unit vectors.
            k: at most so many rows of each.
            allowed: [n], rows that may be found; removed ones are already False.

        Returns:
            Cosines [q, k] and rows [q, k], best first, equal ones by row; beyond the rows that
            are allowed -inf and -1.
        """

    def close(self) -> None:  # noqa: B027 (most have nothing to do)
        """Let go of connections and files; by default there are none."""

    @classmethod  # noqa: B027
    def discard(cls, folder: Path, now: BackendMark | None, say: Say) -> None:
        """After a commit, remove what lies outside of the folder and is no longer needed.

        Args:
            folder: of the index; nothing but what its states named is removed.
            now: what the new state names; None when it has another backend.
            say: tells people what could not be removed, which is no error.
        """


def check_no_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """For backends that have none.

    Raises:
        InputError: there are some.
    """
    if options:
        raise InputError(f"the backend {name} has no option {', '.join(sorted(options))}")
    return {}


def best(scores: Scores, rows: Rows, k: int) -> tuple[Scores, Rows]:
    """The k best of one query's candidates, best first, equal ones by row, padded with -inf, -1.

    Args:
        scores: [m].
        rows: [m].
        k: how many.
    """
    order = np.lexsort((rows, -scores))[:k]
    found_scores = np.full(k, -np.inf, np.float32)
    found_rows = np.full(k, -1, np.int64)
    found_scores[: len(order)], found_rows[: len(order)] = scores[order], rows[order]
    return found_scores, found_rows
