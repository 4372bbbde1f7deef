"""Answers that too many captions got: a sign of rows that were mixed up, or of a stuck model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_tools.rewriting.questions import answers_of
from vlp.data.index import sidecar_path

_AT_ONCE = 50_000_000  # answers whose ids are in memory, 16 bytes each
_FLOOR, _SHARE = 20, 0.001


def most_allowed(max_same: int, captions: int) -> int:
    """How many captions may get one answer: as given, or for 0 the larger of 20 and 0.1 %."""
    return max_same or max(_FLOOR, int(_SHARE * captions))


def repeated_answers(shards: Sequence[Path], name: str, most: int) -> dict[int, int]:
    """{id of an answer: how many different captions got it} of those that got above `most`."""
    total = sum(len(_ids(shard, name)) for shard in shards)
    parts = max(1, -(-total // _AT_ONCE))
    found: dict[int, int] = {}
    for part in range(parts):
        pairs = np.concatenate(
            [ids[ids[:, 0] % parts == part] for ids in (_ids(shard, name) for shard in shards)]
        )
        distinct = np.unique(pairs, axis=0)
        answers, captions = np.unique(distinct[:, 0], return_counts=True)
        often = captions > most
        found |= dict(zip(answers[often].tolist(), captions[often].tolist(), strict=True))
    return found


def example(shards: Sequence[Path], name: str, answer_id: int) -> str:
    """The first answer with an id, as it was given."""
    for shard in shards:
        columns = ["answer_ids", "answers"]
        table = pq.read_table(sidecar_path(shard, answers_of(name)), columns=columns)
        place = pc.index(pc.list_flatten(table["answer_ids"]), answer_id).as_py()
        if place >= 0:
            return str(pc.list_flatten(table["answers"])[place].as_py())
    raise LookupError(f"no answer {answer_id} in {len(shards)} shards")


def _ids(shard: Path, name: str) -> np.ndarray:
    """[answers, 2] int64: the ids of the answer and of what was asked about."""
    columns = ["answer_ids", "source_ids"]
    table = pq.read_table(sidecar_path(shard, answers_of(name)), columns=columns)
    ids = np.stack([pc.list_flatten(table[column]).to_numpy() for column in columns], axis=1)
    answered: np.ndarray = ids[ids[:, 0] != 0]
    return answered.astype(np.int64, copy=False)
