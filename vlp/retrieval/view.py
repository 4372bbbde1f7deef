"""One state of an index, opened for searching."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vlp.retrieval.backends import backend_class
from vlp.retrieval.backends.base import Backend
from vlp.retrieval.background import Background
from vlp.retrieval.snapshot import Rows, Snapshot
from vlp.retrieval.store import Store

_SAMPLED = 1000  # pictures of the index that picture queries are compared with


@dataclass(frozen=True)
class Sample:
    """Pictures from the whole index; none of an index of texts.

    Args:
        rows: [m] ascending.
        vectors: [m, D].
    """

    rows: Rows
    vectors: NDArray[np.float32]


class View:
    """One state of an index, with everything that a search in it needs.

    Args:
        store: the index.

    Raises:
        InputError: the index is damaged.
        OSError: a file is gone, since the state is an old one.
    """

    def __init__(self, store: Store) -> None:
        self.snapshot: Snapshot = store.snapshot()
        mark = self.snapshot.manifest.backend
        self.background: Background | None = store.background(self.snapshot.manifest)
        self.backend: Backend = backend_class(mark.name)(self.snapshot, mark.options, mark.state)
        self.users = 0  # searches that are under way; the retriever counts

    @cached_property
    def sample(self) -> Sample:
        """At most 1,000 pictures, evenly spread."""
        live = np.flatnonzero(self.snapshot.live)
        if self.snapshot.manifest.modality == "text":
            live = live[:0]
        count = min(_SAMPLED, len(live))
        rows = live[np.linspace(0, max(0, len(live) - 1), count).round().astype(np.int64)]
        return Sample(rows, self.snapshot.vectors(rows))
