"""The manifest of a data folder: what it was built from, what may be trusted, what may be removed.

`manifest.json` is written before the first shard, with the settings, and again after the last one,
with every shard. A shard counts as finished when its `_stats.json` agrees with the settings and the
input and when the tar has the size written there.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_tools.building.collection import Collection, Picture, Reader
from data_tools.building.shard_writer import ShardJob
from data_tools.destination import OWN_FILE, Destination, LocalFolder
from vlp.data.files import encode
from vlp.errors import InputError

CONTRACT = 1
_TOOL = "vlp data_tools"

Mark = Mapping[str, Any]  # what the `_stats.json` of a shard holds


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a data folder is to become."""

    folder: Destination
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
        state = [picture.status, picture.dropped_captions, reader.size(picture)]
        digest.update(sha256_json([*known, *state]).encode())
    return digest.hexdigest()


def check_apart(collection: Collection, output: Destination) -> None:
    """Make sure that a build does not write over its own input, or read its output next time.

    Raises:
        InputError: it would.
    """
    if not isinstance(output, LocalFolder):
        return
    others = [name for name in output.folders() if _is_split(output, name)]
    folders = {output.child(name).path.resolve() for name in ("", *collection.splits, *others)}
    for file in collection.files:
        real = file.resolve() if file.is_symlink() else file.parent.resolve() / file.name
        if real.parent in folders and OWN_FILE.fullmatch(real.name):
            raise InputError(
                f"--output {output}: {file} is input and would be lost; choose another"
            )
    searched = collection.searched
    if searched is not None and output.path.resolve().is_relative_to(searched.resolve()):
        raise InputError(
            f"--output {output}: lies in {searched}, of which every tar is input; choose a folder "
            "outside of it"
        )


def clear_others(output: Destination, splits: Sequence[str], restart: bool) -> None:
    """Refuse, or with `restart` remove, data that an earlier build put into other folders.

    Raises:
        InputError: `output` holds splits, or shards outside any split, that this build lacks.
    """
    names = [name for name in ("", *output.folders()) if name not in splits]
    others = [output.child(name) for name in names if _is_split(output, name)]
    if others and not restart:
        raise InputError(
            f"--output {output}: an earlier build wrote {', '.join(map(str, others))}, which this "
            "input does not have; choose another --output, or --restart to remove it"
        )
    for place in others:
        _remove_own(place)


def _is_split(output: Destination, name: str) -> bool:
    """Whether a folder was written as this split of `output`, not as data of its own."""
    try:
        manifest = _read_manifest(output.child(name))
    except InputError:
        return False
    return manifest is not None and manifest.get("split") == name


def open_folder(plan: Plan, restart: bool = False, retry_failed: bool = False) -> None:
    """Make sure that a data folder is, or may become, the plan's.

    Raises:
        InputError: the folder holds other data, or was built otherwise and `restart` is False. With
            `retry_failed` the shards with failures may be of another input.
    """
    others = sorted(name for name in plan.folder.files() if OWN_FILE.fullmatch(name))
    manifest = _read_manifest(plan.folder)
    if manifest is None:
        if others:
            raise InputError(
                f"--output {plan.folder}: holds {', '.join(others[:5])} and no manifest.json of "
                "this tool; choose an empty folder"
            )
    elif restart:
        _remove_own(plan.folder)
    else:
        _check_same(plan, manifest, retry_failed)
    if manifest is None or restart:
        announce(plan)


def announce(plan: Plan) -> None:
    """Write the manifest of a folder that is not complete."""
    _write_json(plan.folder, "manifest.json", _head(plan) | {"complete": False})


def close_folder(plan: Plan, marks: Sequence[Mark]) -> None:
    """Write `sizes.json` and the complete manifest after the last shard."""
    names = [job.name for job in plan.jobs]
    sizes = {name: mark["successes"] for name, mark in zip(names, marks, strict=True)}
    shards = {
        name: {"sha256": mark["sha256"], "bytes": mark["bytes"], "count": mark["successes"]}
        for name, mark in zip(names, marks, strict=True)
    }
    _write_json(plan.folder, "sizes.json", sizes)
    _write_json(plan.folder, "manifest.json", _head(plan) | {"complete": True, "shards": shards})


def finished(plan: Plan) -> list[Mark | None]:
    """For every job the commit mark of its shard where that is finished, or None."""
    marks: list[Mark | None] = []
    for job, mark in zip(plan.jobs, former(plan), strict=True):
        wanted = {"input_sha256": job.input_sha256, "settings_sha256": job.settings_sha256}
        is_ours = mark is not None and all(mark.get(key) == wanted[key] for key in wanted)
        marks.append(mark if is_ours else None)
    return marks


def former(plan: Plan) -> list[Mark | None]:
    """For every job the commit mark of a shard that is whole, of whatever input."""
    sizes = plan.folder.files()
    marks: list[Mark | None] = []
    for job, mark in zip(plan.jobs, _read_marks(plan, sizes), strict=True):
        if mark is None or any(name not in sizes for name in job.files):
            marks.append(None)
        else:
            marks.append(mark if mark.get("bytes") == sizes[job.name] else None)
    return marks


def _read_marks(plan: Plan, sizes: Mapping[str, int]) -> list[Mark | None]:
    names = [job.mark_name for job in plan.jobs if job.mark_name in sizes]
    read = plan.folder.read_several(names)
    return [_mark(read.get(job.mark_name, b"")) for job in plan.jobs]


def _mark(data: bytes) -> Mark | None:
    try:
        mark = json.loads(data)
    except ValueError:
        return None
    return mark if isinstance(mark, dict) else None


def _head(plan: Plan) -> dict[str, Any]:
    return {
        "tool": _TOOL,
        "contract": CONTRACT,
        "split": plan.split,
        "settings": dict(plan.settings),
        "settings_sha256": sha256_json(plan.settings),
        "input_sha256": plan.input_sha256,
    }


def _read_manifest(folder: Destination) -> dict[str, Any] | None:
    try:
        manifest = json.loads(folder.read("manifest.json"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}/manifest.json: unreadable ({error})") from None
    if not isinstance(manifest, dict) or manifest.get("tool") != _TOOL:
        raise InputError(
            f"{folder}/manifest.json: written by another tool; choose an empty folder for --output"
        )
    return manifest


def _check_same(plan: Plan, manifest: Mapping[str, Any], retry_failed: bool) -> None:
    old, new = manifest.get("settings", {}), dict(plan.settings)
    differing = [
        f"{name} was {old.get(name)!r}, is {new.get(name)!r}"
        for name in sorted(set(old) | set(new))
        if json.dumps(old.get(name)) != json.dumps(new.get(name))
    ]
    if manifest.get("contract") != CONTRACT:
        differing.append(f"contract was {manifest.get('contract')!r}, is {CONTRACT}")
    if not differing and manifest.get("input_sha256") != plan.input_sha256:
        differing += _input_changes(plan, manifest, retry_failed)
    if differing:
        raise InputError(
            f"{plan.folder} was built otherwise: {'; '.join(differing)}; "
            "give the old settings, another --output, or --restart to build it anew"
        )


def _input_changes(plan: Plan, manifest: Mapping[str, Any], retry_failed: bool) -> list[str]:
    """What a retry may not take for repaired pictures; without a retry, any change."""
    marks = _read_marks(plan, plan.folder.files())
    changed = [
        (job, mark)
        for job, mark in zip(plan.jobs, marks, strict=True)
        if mark is not None and mark.get("input_sha256") != job.input_sha256
    ]
    first = f"first in {changed[0][0].name}" if changed else "after the last finished shard"
    if not retry_failed:
        failed = any(mark["count"] > mark["successes"] for _, mark in changed)
        hint = ": if only pictures that failed were repaired, give --retry-failed" if failed else ""
        return [f"the input has changed ({first}{hint})"]
    intact = [job for job, mark in changed if mark["count"] == mark["successes"]]
    if intact:
        return [f"the input of {intact[0].name}, in which nothing had failed, has changed"]
    pairs = zip(plan.jobs, marks, strict=True)
    known = [job.input_sha256 if mark is None else mark["input_sha256"] for job, mark in pairs]
    if sha256_json(known) != manifest.get("input_sha256"):
        return ["the input has changed outside the shards that are finished"]
    return []


def _remove_own(folder: Destination) -> None:
    """Remove the files of a former build; the manifest goes last, as it says whose they are."""
    own = [name for name in folder.files() if OWN_FILE.fullmatch(name)]
    for name in sorted(own, key=lambda name: name == "manifest.json"):
        folder.remove(name)


def _write_json(folder: Destination, name: str, value: object) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    folder.write(name, encode(text))
