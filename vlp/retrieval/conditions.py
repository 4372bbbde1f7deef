"""Conditions on metadata: `split = 'val' AND width > 500`, as a mask over the rows."""

import numpy as np

from vlp.retrieval.snapshot import Mask, Snapshot


def rows_where(snapshot: Snapshot, condition: str | None) -> Mask:
    """[n] which live rows fulfil a condition.

    Raises:
        InputError: it cannot be read, or names a column that is not there.
    """
    if condition is None:
        return snapshot.live.copy()
    raise NotImplementedError(np.__name__)
