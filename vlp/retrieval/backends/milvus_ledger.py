"""What an index has on servers of Milvus, so that nothing is left there.

A collection is noted before it is made and crossed out after it is dropped: whatever happens in
between, a later change of the index knows of it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from vlp.data.files import write_json
from vlp.errors import InputError
from vlp.retrieval.folder import flush_names

_FILE = "milvus-collections.json"


@dataclass(frozen=True)
class Entry:
    """A collection on a server."""

    server: str
    collection: str


class Ledger:
    """The collections of the index in a folder.

    A copy of an index has none: those of its file belong to the original, at another path.

    Args:
        folder: of the index.

    Raises:
        InputError: its file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / _FILE
        self.owner = str(folder.resolve())
        self.entries: list[Entry] = []
        if self.path.exists():
            try:
                content = json.loads(self.path.read_text(encoding="utf-8"))
                if content["folder"] == self.owner:
                    self.entries = [Entry(**entry) for entry in content["collections"]]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{self.path} cannot be read: {error}") from None

    def add(self, entry: Entry) -> None:
        """Note a collection that is about to be made."""
        self._write([*self.entries, entry])

    def remove(self, entry: Entry) -> None:
        """Cross out one that is gone."""
        self._write([other for other in self.entries if other != entry])

    def _write(self, entries: list[Entry]) -> None:
        self.entries = entries
        if entries:
            collections = [asdict(entry) for entry in entries]
            write_json(self.path, {"folder": self.owner, "collections": collections})
            flush_names(self.path.parent)
        else:
            self.path.unlink(missing_ok=True)
