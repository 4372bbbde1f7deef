"""Answers saved as they come, so that a run that is killed in a shard asks nothing twice."""

import contextlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from data_tools.rewriting.backends import Answer


class AnswerLog:
    """A file of JSON lines, each an answer with the key of its prompt; only added to.

    A line that a kill left half written is cut off by the next run. Failures are not saved: they
    are asked again. Where a key comes twice the first answer holds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Answer]:
        """The answers by key."""
        found: dict[str, Answer] = {}
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return found
        whole = 0
        for line in data.splitlines(keepends=True):
            try:
                if not line.endswith(b"\n"):
                    break
                fields = json.loads(line)
                key, answer = fields.pop("key"), Answer(**fields)
            except (ValueError, AttributeError, KeyError, TypeError):
                break
            found.setdefault(key, answer)
            whole += len(line)
        if whole < len(data):
            os.truncate(self.path, whole)
        return found

    def append(self, answers: Iterable[tuple[str, Answer]]) -> None:
        """Save answers; they are on the disk when this returns."""
        rows = [{"key": key, **asdict(answer)} for key, answer in answers if not answer.error]
        if not rows:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
            file.flush()
            os.fsync(file.fileno())

    def remove(self) -> None:
        """Remove the file, and its folder with the last one."""
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or never made
            self.path.parent.rmdir()
