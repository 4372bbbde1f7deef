"""What of an earlier run stands, and what is to be done again."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_tools.annotate import Recipe
from data_tools.rewriting.backends import Answer
from data_tools.rewriting.quality import UNASKED
from data_tools.rewriting.questions import Asking
from vlp.data.index import sidecar_path


def forget_failures(shards: Sequence[Path], answers: str, asking: Asking) -> None:
    """Make shards with failed answers unfinished; their other answers go to the log.

    The log is on the disk before the sidecar is removed, so a kill in between loses nothing.
    """
    for shard in shards:
        path = sidecar_path(shard, answers)
        if not path.exists():
            continue
        table = pq.read_table(path)
        columns = ("prompts", "answers", "finished", "errors")
        flat = [pc.list_flatten(table[name]).to_pylist() for name in columns]
        if not set(flat[-1]) - {"", UNASKED}:
            continue
        asking.log(shard).append(
            (key, Answer(text, is_finished, error))
            for key, text, is_finished, error in zip(*flat, strict=True)
        )
        path.unlink()


def mixes_only_repeats(shards: Sequence[Path], recipe: Recipe, marks: Collection[str]) -> bool:
    """Whether the sidecars that are there differ from a recipe in nothing but `marks`.

    Those follow from the answers of all shards and change when shards are added; they are no
    setting, so sidecars that differ in them alone are made anew without being asked.
    """
    wanted = _without(json.loads(json.dumps(recipe.settings)), marks)
    for shard in shards:
        path = sidecar_path(shard, recipe.name)
        if not path.exists():
            continue
        mark = (pq.read_schema(path).metadata or {}).get(b"vlp_recipe")
        if mark is None or _without(json.loads(mark), marks) != wanted:
            return False
    return True


def _without(settings: dict[str, object], marks: Collection[str]) -> dict[str, object]:
    return {name: value for name, value in settings.items() if name not in marks}
