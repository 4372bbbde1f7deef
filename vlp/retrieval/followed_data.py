"""Data that an index follows: how it names them, and what it notes of their pictures."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from vlp.data.files import is_text
from vlp.errors import InputError
from vlp.retrieval.backends.base import Say
from vlp.retrieval.embedding.embed import Problem
from vlp.retrieval.embedding.items import DataOptions, Item
from vlp.retrieval.embedding.sources import open_data
from vlp.retrieval.snapshot import ID
from vlp.retrieval.updating import INDEXED_FROM, REMOVED, Entry

COPIES, COPY_MARKS = "copies", "copy_marks"  # columns of embeddings, not of an index


@dataclass(frozen=True)
class Listing:
    """Data that are listed when somebody first asks for their pictures, which may take long.

    Args:
        data: what `open_data` takes.
        options: how it is read.
        say: prints a line for people.
    """

    data: str
    options: DataOptions
    say: Say = print

    @cached_property
    def items(self) -> list[Item]:
        """The pictures.

        Raises:
            InputError: they cannot be read.
        """
        return open_data(self.data, self.options, self.say)

    @property
    def place(self) -> str:
        """How the index calls the data."""
        return absolute(self.data)


def problem_entries(problems: Sequence[Problem], data: str) -> list[Entry]:
    """Entries of pictures that cannot be read; one that may be by now is tried each time."""
    return [
        entry(bad.item.image_path, bad.item.mark, data, problem=bad.problem)
        for bad in problems
        if bad.lasting and is_text(bad.item.image_path)
    ]


def copy_entry(path: str, mark: str, data: str, sha256: str, removed: Collection[str]) -> Entry:
    """Of a picture with known bytes; what was removed by hand stays removed in all its copies."""
    problem = REMOVED if sha256 in removed else None
    return entry(path, mark, data, sha256=sha256, problem=problem)


def entry(
    path: str, mark: str, data: str, *, sha256: str | None = None, problem: str | None = None
) -> Entry:
    """One row of `ASIDE`."""
    told = {"image_path": path, "mark": mark, "sha256": sha256, "problem": problem}
    return {**told, INDEXED_FROM: data}


def prepared(table: pa.Table, data: str | None) -> pa.Table:
    """Metadata as an index holds them.

    What is said of copies moves aside, where it stays true when they change.

    Raises:
        InputError: a column has a name that the index needs.
    """
    table = table.drop_columns([n for n in (COPIES, COPY_MARKS) if n in table.schema.names])
    for name in (ID, INDEXED_FROM):
        if name in table.schema.names:
            raise InputError(f"the column {name!r} is the index's own; rename that of the data")
    if data is None:
        return table
    return table.append_column(INDEXED_FROM, pa.array([data] * len(table), pa.string()))


def with_source(
    sources: Sequence[Mapping[str, Any]], data: str, options: DataOptions
) -> list[dict[str, Any]]:
    """The data of an index with one among them; what was there keeps its place."""
    found = {str(source["data"]): dict(source) for source in sources}
    found[data] = {"data": data, "options": asdict(options)}
    return list(found.values())


def absolute(data: str) -> str:
    """A path, or a pattern of paths, that means the same from any folder."""
    return str(Path(data).expanduser().absolute())
