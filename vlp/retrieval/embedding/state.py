"""What a folder of embeddings knows of its making: `embed.json`, copies, progress and report."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp.data.files import write_json, write_text
from vlp.data.leftovers import remove_leftovers_in
from vlp.errors import InputError, RunError
from vlp.retrieval.embedding.copies import Copy
from vlp.retrieval.embedding.items import Item
from vlp.retrieval.embedding.reader import FOLDERS, METADATA, SCHEMA, STATE_FILE, read_state
from vlp.retrieval.manifest import ModelMark

COPIES_FILE = "copies.jsonl"
REPORT_FILE = "report.jsonl"
_PROGRESS = ".progress"
_LOCK = ".lock"


@dataclass(frozen=True)
class OutputFolder:
    """The folder that embeddings are written into."""

    folder: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep out other commands; the lock ends with the process.

        Raises:
            RunError: one is at work.
            InputError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            told = error.strerror
            raise InputError(f"--output {self.folder} cannot be written: {told}") from None
        with os.fdopen(file):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"another process is writing into {self.folder}") from None
            yield

    def check(self) -> None:
        """Find out before anything long whether the folder can be written and is not another's.

        Raises:
            InputError: it cannot, or is.
        """
        there = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        if not there.is_dir():
            raise InputError(f"--output {self.folder}: {there} is a file")
        if not os.access(there, os.W_OK | os.X_OK):
            raise InputError(f"--output {self.folder} cannot be written: permission denied")
        if there == self.folder and read_state(self.folder) is None:
            self._check_empty()

    def start(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """The state to go on from: a new one, or that of the same job.

        Raises:
            InputError: the folder holds something else.
        """
        state = read_state(self.folder)
        wanted = json.loads(json.dumps(wanted))  # as it would be read
        if state is None:
            self._check_empty()
            (self.folder / COPIES_FILE).unlink(missing_ok=True)  # of a state that is gone
            state = {**wanted, "schema": SCHEMA, "complete": False}
            write_json(self.folder / STATE_FILE, state)
        elif differences := _differences(state, wanted):
            raise InputError(
                f"--output {self.folder} was made {' and '.join(differences)}: "
                "name another folder, or remove it"
            )
        for name in ("", *FOLDERS.values(), METADATA, _PROGRESS):
            remove_leftovers_in(self.folder / name)
        return state

    def finish(self, state: Mapping[str, Any], problems: Iterable[Mapping[str, Any]]) -> None:
        """Write the report and then that all is there."""
        self.write_report(problems)
        write_json(self.folder / STATE_FILE, {**state, "complete": True})
        self.tidy()

    def write_report(self, problems: Iterable[Mapping[str, Any]]) -> None:
        """A line for each picture that has no row."""
        write_text(self.folder / REPORT_FILE, _lines(problems))

    def report(self) -> list[dict[str, Any]]:
        """What it says."""
        return _read_lines(self.folder / REPORT_FILE)

    def tidy(self) -> None:
        """Remove what is needed no more when all is there."""
        shutil.rmtree(self.folder / _PROGRESS, ignore_errors=True)

    def give_up(self) -> None:
        """Leave nothing but the report, so that the same command starts afresh."""
        for name in (STATE_FILE, COPIES_FILE):
            (self.folder / name).unlink(missing_ok=True)
        self.tidy()

    def mark_finished(self, partition: int, facts: Mapping[str, Any]) -> None:
        """Note that a partition is there, with the sizes of its files and its problems."""
        write_json(self.folder / _PROGRESS / f"{partition}.json", facts)

    def finished(self, partitions: int) -> dict[int, dict[str, Any]]:
        """What is noted of the partitions whose files are there."""
        found = {}
        for partition in range(partitions):
            path = self.folder / _PROGRESS / f"{partition}.json"
            if not path.is_file():
                continue
            facts = json.loads(path.read_text(encoding="utf-8"))
            files = [(self.folder / name, size) for name, size in facts["files"].items()]
            if all(file.is_file() and file.stat().st_size == size for file, size in files):
                found[partition] = facts
        return found

    def write_copies(self, copies: Sequence[Copy]) -> None:
        """A line for each copy, with everything that the data say of it."""
        write_text(
            self.folder / COPIES_FILE,
            _lines(
                {
                    "image_path": copy.item.image_path,
                    "copy_of": copy.of,
                    "sha256": copy.sha256,
                    "captions": list(copy.item.captions),
                    "metadata": dict(copy.item.metadata),
                }
                for copy in copies
            ),
        )

    def copies(self, items: Sequence[Item]) -> list[Copy] | None:
        """What was written, None where nothing was."""
        if not (self.folder / COPIES_FILE).is_file():
            return None
        rows = {row["image_path"]: row for row in _read_lines(self.folder / COPIES_FILE)}
        return [
            Copy(item=item, of=row["copy_of"], sha256=row["sha256"])
            for item in items
            if (row := rows.get(item.image_path))
        ]

    def _check_empty(self) -> None:
        own = (_LOCK, REPORT_FILE, COPIES_FILE)
        foreign = [
            name
            for name in os.listdir(self.folder)
            if name not in own and not (name.startswith(".") and name.endswith(".tmp"))
        ]
        if foreign:
            raise InputError(
                f"--output {self.folder} is not empty and has no {STATE_FILE} "
                f"(e.g. {min(foreign)}): name another folder"
            )


def data_sha256(items: Iterable[Item]) -> str:
    """sha256 of the list of pictures and their marks."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{item.image_path}\0{item.mark}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _differences(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What is other than it was; of another model nothing more, as all of it follows."""
    there, now = (ModelMark(**one["model"]) for one in (state, wanted))
    if there.fingerprint != now.fingerprint:
        return [f"by {there}, not by {now}"]
    told = []
    before, after = state["data"], wanted["data"]
    if before["sha256"] != after["sha256"]:
        told.append(f"from {_data(before)}, not from {_data(after)} as they are now")
    for name in ("options", "protocol"):
        for key in dict.fromkeys((*state[name], *wanted[name])):
            values = [one[name].get(key) for one in (state, wanted)]
            if values[0] != values[1]:
                told.append(f"with {key} {values[0]}, not {values[1]}")
    return told


def _data(data: Mapping[str, Any]) -> str:
    return f"the {data['pictures']:,} pictures of {data['source']}"


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
