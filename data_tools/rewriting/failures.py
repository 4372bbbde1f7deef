"""Questions that got no answer: counted by their causes, told, and asked again."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from data_tools.rewriting.backends import Answer
from vlp.data.index import sidecar_path
from vlp.errors import RunError

_ERROR = "error: "
_MOST_TOLD = 5  # causes


def count_failures(answers: Iterable[Answer]) -> Counter[str]:
    """How many failed, by cause; numbers in messages tell the cases apart, not the causes."""
    causes = (re.sub(r"\d{4,}", "N", answer.error) for answer in answers if answer.error)
    return Counter(f"{_ERROR}{cause}" for cause in causes)


def tell_failures(counts: Mapping[str, int], asked: int) -> None:
    """Print the commonest causes.

    Args:
        asked: questions, all in all.

    Raises:
        RunError: not one of them was answered.
    """
    causes = Counter({name: count for name, count in counts.items() if name.startswith(_ERROR)})
    for cause, count in causes.most_common(_MOST_TOLD):
        print(f"  {count:,} failed: {cause.removeprefix(_ERROR)}")
    if not causes:
        return
    if causes.total() == asked:
        raise RunError(f"not one of {asked:,} questions got an answer; --retry-failed asks again")
    print("  --retry-failed asks these again", flush=True)


def forget_failed_shards(shards: Sequence[Path], name: str) -> None:
    """Remove the sidecars whose counts tell of failures, so that their shards are unfinished."""
    for shard in shards:
        path = sidecar_path(shard, name)
        marks = (pq.read_schema(path).metadata or {}) if path.exists() else {}
        if any(cause.startswith(_ERROR) for cause in json.loads(marks.get(b"vlp_counts", b"{}"))):
            path.unlink()
