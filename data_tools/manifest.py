"""The manifest of a data folder: what it was built from, what may be trusted, what may be removed.

`manifest.json` is written before the first shard, with the settings, and again after the last one,
with every shard. A shard counts as finished when its `_stats.json` agrees with the settings and the
input and when the tar has the size written there.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.collection import Picture, Reader
from data_tools.errors import InputError
from data_tools.shard_writer import ShardJob, stats_path
from vlp.data.files import write_json
from vlp.data.index import sidecar_path

CONTRACT = 1
_TOOL = "vlp data_tools"
_OWN = (
    r"(\d{5}(\.tar|\.parquet|_stats\.json)|(manifest|sizes)\.json"
    r"|(classnames|zeroshot_classification_templates)\.txt)"
)
_OWN_FILE = re.compile(_OWN + "$")
_OWN_TEMPORARY = re.compile(rf"\.{_OWN}\.\d+\.tmp")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a data folder is to become."""

    folder: Path
    split: str
    settings: Mapping[str, Any]
    input_sha256: str
    jobs: Sequence[ShardJob]


def sha256_json(value: object) -> str:
    """sha256 of a value's JSON with sorted keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(pictures: Sequence[Picture], reader: Reader) -> str:
    """sha256 over what a chunk says of its pictures, and their sizes in bytes."""
    digest = hashlib.sha256()
    for picture in pictures:
        known = [picture.source, picture.captions, dict(picture.extra), picture.label]
        state = [picture.status, picture.dropped_captions, reader.size(picture.source)]
        digest.update(sha256_json([*known, *state]).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one build; the lock ends with the process and leaves no file.

    Raises:
        InputError: another build is writing there, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"--output {folder}: {error.strerror}") from None
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"--output {folder}: another build is writing there") from None
    except OSError:
        pass  # a file system without locks: the user alone can keep two builds apart


def clear_others(output: Path, splits: Sequence[str], restart: bool) -> None:
    """Refuse, or with `restart` remove, data that an earlier build put into other folders.

    Raises:
        InputError: `output` holds splits, or shards outside any split, that this build lacks.
    """
    folders = sorted(path.name for path in output.iterdir() if path.is_dir())
    others = [
        output / name for name in ("", *folders) if name not in splits and _is_split(output, name)
    ]
    if others and not restart:
        names = ", ".join(map(str, others))
        raise InputError(
            f"--output {output}: an earlier build wrote {names}, which this input does not have; "
            "choose another --output, or --restart to remove it"
        )
    for place in others:
        _remove_own(place)


def _is_split(output: Path, name: str) -> bool:
    """Whether a folder was written as this split of `output`, not as data of its own."""
    try:
        manifest = _read_manifest(output / name)
    except InputError:
        return False
    return manifest is not None and manifest.get("split") == name


def open_folder(plan: Plan, restart: bool) -> list[dict[str, Any] | None]:
    """Prepare a data folder; for every job the commit mark of its finished shard, or None.

    Raises:
        InputError: the folder holds other data, or was built otherwise and `restart` is False.
    """
    remove_temporaries(plan.folder)
    manifest = _read_manifest(plan.folder)
    if manifest is None:
        others = sorted(path.name for path in plan.folder.iterdir() if _OWN_FILE.match(path.name))
        if others:
            raise InputError(
                f"--output {plan.folder}: holds {', '.join(others[:5])} and no manifest.json of "
                "this tool; choose an empty folder"
            )
    elif restart:
        _remove_own(plan.folder)
    else:
        _check_same(plan, manifest)
    head = _head(plan) | {"complete": False}
    if manifest is None or restart:
        write_json(plan.folder / "manifest.json", head)
    return [_finished(job) for job in plan.jobs]


def close_folder(plan: Plan, stats: Sequence[Mapping[str, Any]]) -> None:
    """Write `sizes.json` and the complete manifest after the last shard."""
    remove_temporaries(plan.folder)
    names = [job.shard.name for job in plan.jobs]
    sizes = {name: mark["successes"] for name, mark in zip(names, stats, strict=True)}
    shards = {
        name: {"sha256": mark["sha256"], "bytes": mark["bytes"], "count": mark["successes"]}
        for name, mark in zip(names, stats, strict=True)
    }
    write_json(plan.folder / "sizes.json", sizes)
    write_json(plan.folder / "manifest.json", _head(plan) | {"complete": True, "shards": shards})


def _head(plan: Plan) -> dict[str, Any]:
    return {
        "tool": _TOOL,
        "contract": CONTRACT,
        "split": plan.split,
        "settings": dict(plan.settings),
        "settings_sha256": sha256_json(plan.settings),
        "input_sha256": plan.input_sha256,
    }


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / "manifest.json"
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: unreadable ({error})") from None
    if not isinstance(manifest, dict) or manifest.get("tool") != _TOOL:
        raise InputError(f"{path}: written by another tool; choose an empty folder for --output")
    return manifest


def _check_same(plan: Plan, manifest: Mapping[str, Any]) -> None:
    old, new = manifest.get("settings", {}), dict(plan.settings)
    differing = [
        f"{name} was {old.get(name)!r}, is {new.get(name)!r}"
        for name in sorted(set(old) | set(new))
        if json.dumps(old.get(name)) != json.dumps(new.get(name))
    ]
    if manifest.get("contract") != CONTRACT:
        differing.append(f"contract was {manifest.get('contract')!r}, is {CONTRACT}")
    if not differing and manifest.get("input_sha256") != plan.input_sha256:
        differing.append(f"the input has changed ({_first_change(plan)})")
    if differing:
        raise InputError(
            f"{plan.folder} was built otherwise: {'; '.join(differing)}; "
            "give the old settings, another --output, or --restart to build it anew"
        )


def _first_change(plan: Plan) -> str:
    for job in plan.jobs:
        mark = _read_mark(job)
        if mark is not None and mark.get("input_sha256") != job.input_sha256:
            return f"first in {job.shard.name}"
    return "after the last finished shard"


def _finished(job: ShardJob) -> dict[str, Any] | None:
    mark = _read_mark(job)
    wanted = {"settings_sha256": job.settings_sha256, "input_sha256": job.input_sha256}
    if mark is None or any(mark.get(name) != value for name, value in wanted.items()):
        return None
    beside = (job.shard.with_suffix(".parquet"), sidecar_path(job.shard, "index"))
    whole = job.shard.is_file() and job.shard.stat().st_size == mark.get("bytes")
    return mark if whole and all(path.is_file() for path in beside) else None


def _read_mark(job: ShardJob) -> dict[str, Any] | None:
    try:
        mark = json.loads(stats_path(job.shard).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) else None


def _own_folders(folder: Path) -> list[Path]:
    return [path for path in (folder, folder / "annotations" / "index") if path.is_dir()]


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed build left half written."""
    for place in _own_folders(folder):
        for path in place.iterdir():
            if _OWN_TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _remove_own(folder: Path) -> None:
    """Remove the files of a former build; the manifest goes last, as it says whose they are."""
    own = [
        path
        for place in _own_folders(folder)
        for path in place.iterdir()
        if _OWN_FILE.match(path.name)
    ]
    for path in sorted(own, key=lambda path: path.name == "manifest.json"):
        path.unlink()
