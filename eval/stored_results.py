"""The results that a folder holds, each with its predictions if they are still its own."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval import results
from eval.records import checkpoint_id, samples_seen


@dataclass(frozen=True, kw_only=True)
class Result:
    """A record, and where it was found."""

    record: dict[str, Any]
    predictions: Path | None  # None where they are gone, or those of a later evaluation
    benchmark: str | None  # the folder under RUN/eval, None outside a run


def read_results(folder: Path, absent: list[str]) -> list[Result]:
    """The results of a run (RUN/eval/*/results.jsonl) and of a plain folder, oldest first.

    Args:
        folder: a run, or a folder with results.jsonl.
        absent: gets a sentence about each file with lines that are no result.
    """
    places = sorted(path.parent for path in folder.glob(f"eval/*/{results.JSONL}"))
    found = []
    for place in [*places, folder]:
        records, torn = results.read(place)
        if torn:
            absent.append(f"{place / results.JSONL}: {torn} lines that are no result")
        # during training a file is replaced by every evaluation, and is that of the last
        owner = {_predictions_of(record): record for record in records}
        for record in records:
            name = _predictions_of(record)
            own = owner[name] is record and (place / name).is_file()
            found.append(
                Result(
                    record=record,
                    predictions=place / name if own else None,
                    benchmark=None if place == folder else place.name,
                )
            )
    return found


def by_checkpoint(found: Iterable[Result]) -> list[list[Result]]:
    """The results of each checkpoint: in the order in which they came up, those of which it is
    known how far they were trained by that.
    """
    groups: dict[str, list[Result]] = {}
    for result in found:
        groups.setdefault(checkpoint_id(result.record), []).append(result)
    return sorted(groups.values(), key=lambda group: samples_seen(group[0].record) or 0)


def _predictions_of(record: dict[str, Any]) -> str:
    """Relative to the folder; records of before the field was there have one file a task."""
    return str(record.get("predictions", f"predictions-{record['task']}.npz"))
