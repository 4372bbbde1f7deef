"""The report of a run: a JSON line for each defect, a summary, and what is printed.

Lines are kept in a file until all shards are done, so that their order is that of the shards and
memory does not grow with defects.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from data_tools.defects.codes import CODES
from data_tools.defects.scanner import Defect
from vlp.data.files import encode, write_json
from vlp.data.leftovers import remove_leftovers, replace_tidily
from vlp.terminal import printable

_SHOWN = 20  # defects that are printed without a report file
_SHOWN_OF_A_CODE = 4


class Report:
    """Collects defects shard by shard, in any order.

    Args:
        shards: in the order of the report.
        lines: a file to keep them in.
    """

    def __init__(self, shards: Sequence[str], lines: IO[bytes]) -> None:
        self._shards = list(shards)
        self._lines = lines
        self._parts: dict[str, list[tuple[int, int]]] = {}  # shard -> (offset, lines)
        self.codes = Counter[str]()
        self.shards_by_code = Counter[str]()
        self.counts = Counter[str]()

    def add(self, shard: str, defects: Sequence[Defect]) -> None:
        """Defects of a shard, in their order; a shard may come again with more."""
        if not defects:
            return
        self._parts.setdefault(shard, []).append((self._lines.seek(0, 2), len(defects)))
        for defect in defects:
            self._lines.write(_line(shard, defect))
        self.codes.update(defect.code for defect in defects)
        self.shards_by_code.update({defect.code for defect in defects})

    def count(self, severity: str) -> int:
        """Defects of a severity."""
        found = self.codes.items()
        return sum(times for code, times in found if CODES[code].severity == severity)

    def lines(self) -> Iterator[bytes]:
        """The report: shards in their order, the defects of each by offset."""
        for shard in dict.fromkeys([*self._shards, *sorted(self._parts)]):
            lines: list[bytes] = []
            for offset, count in self._parts.get(shard, ()):
                self._lines.seek(offset)
                lines += [self._lines.readline() for _ in range(count)]
            if len(self._parts.get(shard, ())) > 1:
                lines.sort(key=lambda line: int(json.loads(line)["offset"] or 0))
            yield from lines

    def first(self) -> Iterator[str]:
        """The first defects, for people; no code may hide the others by its number."""
        left = Counter(dict.fromkeys(self.codes, _SHOWN_OF_A_CODE))
        shown = 0
        for line in self.lines():
            defect = json.loads(line)
            if not left[defect["code"]]:
                continue
            left[defect["code"]] -= 1
            shown += 1
            yield _told(defect)
            if shown == _SHOWN:
                return

    def write(self, path: Path, about: dict[str, Any]) -> Path:
        """Write the report and the summary beside it; returns the summary's path."""
        summary = path.with_name(f"{path.stem}_summary.json")
        replace_tidily(path, self._write_lines)
        remove_leftovers(summary)
        write_json(summary, about | self.summary())
        return summary

    def _write_lines(self, path: Path) -> None:
        with open(path, "wb") as file:
            file.writelines(self.lines())

    def summary(self) -> dict[str, Any]:
        """Counts by severity and code."""
        codes = {
            code: {
                "severity": CODES[code].severity,
                "defects": self.codes[code],
                "shards": self.shards_by_code[code],
            }
            for code in sorted(self.codes)
        }
        severities = {"errors": self.count("error"), "warnings": self.count("warning")}
        return dict(self.counts) | severities | {"codes": codes}

    def table(self) -> Iterator[str]:
        """What was found, for people: errors first, as in the table of codes."""
        found = [code for code in CODES.values() if code.name in self.codes]
        for code in sorted(found, key=lambda code: code.severity):
            times, shards = self.codes[code.name], self.shards_by_code[code.name]
            place = f"in {shards:,} shard{'s' * (shards > 1)}"
            yield f"  {code.severity:7} {code.name:22} {times:>8,} {place}: {code.meaning}"


def _told(defect: dict[str, Any]) -> str:
    place = "" if defect["offset"] is None else f" at byte {defect['offset']:,}"
    key = f" key {defect['key']!r}" if defect["key"] else ""
    head = f"{defect['severity']}: {defect['code']}: {defect['shard']}"
    return printable(f"{head}{place}{key}: {defect['detail']}").replace("\n", "\\n")


def _line(shard: str, defect: Defect) -> bytes:
    fields = {
        "shard": shard,
        "key": defect.key,
        "code": defect.code,
        "severity": CODES[defect.code].severity,
        "offset": None if defect.offset < 0 else defect.offset,
        "detail": defect.detail,
    }
    return encode(json.dumps(fields, ensure_ascii=False) + "\n")
