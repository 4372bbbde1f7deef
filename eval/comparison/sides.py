"""What `compare` is given: `FOLDER`, or `FOLDER:MODEL` where a folder has several checkpoints."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eval import results
from eval.records import checkpoint_id, checkpoint_name, names_of, run_of
from eval.stored_results import Result, by_checkpoint, read_results

_SHORTEST = 6  # characters of a fingerprint


@dataclass(frozen=True, kw_only=True)
class Side:
    """All results of one checkpoint in a folder."""

    name: str
    results: list[Result]  # oldest first
    problems: list[str]  # lines of the folder that are no result


def find_side(text: str) -> Side:
    """The checkpoint that is meant.

    Args:
        text: a folder with results.jsonl or a run, and after a colon the model: its name, its path
            or a part of it (`step-000000800`), or the first characters of its fingerprint. Of a run
            without a model the last checkpoint is meant.

    Raises:
        FileNotFoundError: no such folder, or no results in it.
        ValueError: no such checkpoint, or several; the message lists those that are there.
    """
    folder, wanted = _parts(text)
    problems: list[str] = []
    found = read_results(folder, problems)
    if not found:
        raise FileNotFoundError(f"{folder} holds no {results.JSONL}, nor eval/*/{results.JSONL}")
    groups = by_checkpoint(found)
    matching = [group for group in groups if not wanted or _is(wanted, group[-1])]
    if not wanted and all(result.benchmark for result in found):
        matching = groups[-1:]  # of a run the predictions of the last one alone are there
    if len(matching) != 1:
        there = "".join(f"\n  {folder}:{name}" for name in _choices(groups))
        what = f"no checkpoint {wanted!r}" if not matching else "several checkpoints"
        what = f"several checkpoints {wanted!r}" if matching and wanted else what
        raise ValueError(f"{folder} has {what}; those that are there:{there}")
    (group,) = matching
    return Side(name=checkpoint_name(group[-1].record), results=group, problems=problems)


def _parts(text: str) -> tuple[Path, str]:
    """(folder, model or nothing): the folder is the longest beginning that is one."""
    for end in [len(text), *(i for i in reversed(range(len(text))) if text[i] == ":")]:
        folder = Path(text[:end]).expanduser()
        if text[:end] and folder.is_dir():
            return folder, text[end + 1 :]
    raise FileNotFoundError(
        f"{text.partition(':')[0]} is no folder; expected FOLDER or FOLDER:MODEL"
    )


def _is(wanted: str, result: Result) -> bool:
    record = result.record
    fingerprint = checkpoint_id(record)
    if wanted in names_of(record):
        return True
    if len(wanted) >= _SHORTEST and fingerprint.startswith(wanted.lower()):
        return True
    return _within(Path(wanted).parts, Path(record["checkpoint"].get("path") or "").parts)


def _within(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    """Whether some components of a path follow one another in another path."""
    return any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))


def _choices(groups: list[list[Result]]) -> Iterator[str]:
    """A way to name each checkpoint, the shortest that means it alone."""
    for group in groups:
        record = group[-1].record
        path = record["checkpoint"].get("path")
        short = [name for name in names_of(record) if name.startswith("step-")]
        fingerprint = checkpoint_id(record)[:12]
        own = [run_of(record), *short, path, fingerprint]
        yield next(
            name
            for name in own
            if name and (name == fingerprint or sum(_is(name, other[-1]) for other in groups) == 1)
        )
