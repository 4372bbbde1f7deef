"""What `repair` did to a shard: a line for each change, and the counts that must add up."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from data_tools.defects.grouping import Part
from data_tools.defects.names import Problem
from data_tools.defects.walk import Entry, Gap
from vlp.data.files import encode, replace_atomically


class Ledger:
    """The changes of one shard. `counts` are named 'samples/CODE', 'members/CODE' and so on.

    Args:
        shard: its file name.
    """

    def __init__(self, shard: str) -> None:
        self._shard = shard
        self._lines: list[tuple[int, dict[str, Any]]] = []
        self.counts = Counter[str]()
        self.fates: dict[str, str] = {}  # key as read -> key as written, or '' where dropped
        self.reasons: dict[str, str] = {}  # key as read -> code for which it was dropped

    def gap(self, gap: Gap, action: str = "skipped") -> None:
        """Bytes that were passed over."""
        self._add("", gap.start, Problem(gap.code, gap.detail), action, bytes=gap.end - gap.start)

    def drop_member(self, key: str, entry: Entry, problem: Problem) -> None:
        """A member that is not written, alone or with its sample."""
        self.counts[f"members/{problem.code}"] += 1
        self._add(key, entry.start, problem, "dropped", member=_text(entry.name))

    def drop_sample(self, key: str, parts: list[Part], problem: Problem) -> None:
        """A sample that is not written."""
        self.counts[f"samples/{problem.code}"] += 1
        self.fates.setdefault(key, "")
        self.reasons.setdefault(key, problem.code)
        for part in parts:
            self.drop_member(key, part.entry, problem)

    def change(self, key: str, part: Part, problem: Problem, action: str, member: str) -> None:
        """A member that is written otherwise than it was read, as `member`."""
        self.counts[action] += 1
        names = {"member": _text(part.entry.name), "written": member}
        self._add(key, part.entry.start, problem, action, **names)

    def write(self, path: Path) -> None:
        """Write the lines by their places in the tar, atomically."""
        lines = [fields for _, fields in sorted(self._lines, key=lambda line: line[0])]
        text = b"".join(encode(json.dumps(line, ensure_ascii=False) + "\n") for line in lines)
        replace_atomically(path, lambda temporary: temporary.write_bytes(text))

    def _add(self, key: str, offset: int, problem: Problem, action: str, **more: object) -> None:
        head = {"shard": self._shard, "key": key, "code": problem.code, "detail": problem.detail}
        self._lines.append((offset, head | {"action": action, "offset": offset} | more))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
