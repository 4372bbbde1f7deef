"""Search by Milvus: by a server, or without one by Milvus Lite on files in the index.

The index's own vectors are the truth: Milvus tells candidates, which are scored anew. Collections
are only ever appended to. What a writer that died left in one has ids that no state of the index
knows, so that nobody finds it; a collection that no state names is dropped.
"""

import os
import platform
import secrets
import shutil
import tempfile
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from vlp.data.leftovers import remove_leftovers_in
from vlp.errors import InputError, RunError
from vlp.retrieval.backends.base import Backend, Change, Say, Scores, best
from vlp.retrieval.backends.exact import search_exactly
from vlp.retrieval.backends.milvus_collection import (
    MOST,
    TOKEN,
    AwayError,
    Collection,
    import_milvus,
)
from vlp.retrieval.backends.milvus_folders import continue_folder, flush_folder, link_folder
from vlp.retrieval.backends.milvus_ledger import Entry, Ledger
from vlp.retrieval.manifest import BackendMark, read_manifest
from vlp.retrieval.snapshot import Mask, Rows, Snapshot

_PRIVATE = ".vlp-milvus."
_NARROW = 0.02  # share of allowed rows up to which these alone are looked at


class MilvusBackend(Backend):
    """Option: `server`, an address such as http://localhost:19530."""

    name = "milvus"

    def __init__(
        self, snapshot: Snapshot, options: Mapping[str, Any], state: Mapping[str, Any]
    ) -> None:
        super().__init__(snapshot, options, state)
        self._lock = threading.Lock()  # several threads search
        self._collection: Collection | None = None
        self._undo: list[weakref.finalize[..., Any]] = []  # of `_open`, also at exit
        self._is_away = False

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        unknown = sorted(set(options) - {"server"})
        if unknown:
            raise InputError(
                f"the backend milvus has no option {', '.join(unknown)}; it has server"
            )
        import_milvus()
        server = options.get("server")
        if server is None:
            return {}
        _check_address(server)
        try:
            with Collection(server) as connection:
                connection.exists()
        except AwayError as error:
            raise InputError(f"{error}, or give none: Milvus Lite keeps a file") from error
        except RunError as error:
            raise InputError(f"{error} (it takes a token from {TOKEN})") from error
        return {"server": server}

    @classmethod
    def update(cls, change: Change) -> dict[str, Any]:
        if change.state and change.first_new_row == len(change.after):
            return dict(change.state)  # rows were removed, which needs nothing here
        return _update_server(change) if "server" in change.options else _update_folder(change)

    @classmethod
    def discard(cls, folder: Path, now: BackendMark | None, say: Say) -> None:
        kept = now.state.get("collection") if now else None
        ledger = Ledger(folder)
        for entry in [entry for entry in ledger.entries if entry.collection != kept]:
            try:
                with Collection(entry.server, entry.collection) as collection:
                    collection.drop()
            except (InputError, RunError) as error:
                say(
                    f"collection {entry.collection} could not be dropped: {error}; the next change "
                    f"tries again, unless {ledger.path} is removed"
                )
            else:
                ledger.remove(entry)

    def search(self, queries: Scores, k: int, allowed: Mask) -> tuple[Scores, Rows]:
        count = min(k, int(allowed.sum()))
        share = float(allowed.mean()) if count else 0.0
        if share <= _NARROW or count > MOST * share:
            return search_exactly(self.snapshot, queries, k, allowed)
        scores = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int64)
        for number, query in enumerate(queries):
            near = self._near(query, count, allowed, int(1.2 * count / share) + 10)
            if near is None:
                exact = search_exactly(self.snapshot, query[None], k, allowed)
                scores[number], rows[number] = exact[0][0], exact[1][0]
            else:
                cosines = self.snapshot.vectors(near) @ query
                scores[number], rows[number] = best(cosines, near, k)
        return scores, rows

    def close(self) -> None:
        """Let go of Milvus; searches are exact from then on."""
        with self._lock:
            self._is_away = True
            self._leave()

    def _near(self, query: Scores, count: int, allowed: Mask, limit: int) -> Rows | None:
        """At least `count` near rows that are allowed; None if Milvus does not tell so many."""
        own = self.snapshot.ids
        while True:
            limit = min(limit, MOST)
            ids = self._ids(query, limit)
            if ids is None:
                return None
            rows: Rows = np.minimum(np.searchsorted(own, ids), len(own) - 1)
            rows = rows[(own[rows] == ids) & allowed[rows]]
            if len(rows) >= count:
                return rows
            if len(ids) < limit or limit == MOST:
                return None
            limit *= 4

    def _ids(self, query: Scores, limit: int) -> Rows | None:
        """What Milvus finds, ascending; None if it has nothing of this state any more.

        Raises:
            RunError: it does not answer, or lacks rows of the newest state.
        """
        try:
            with self._lock:
                if self._is_away:
                    return None
                collection = self._collection or self._open()
            found: Rows = np.unique(collection.nearest(query, limit))
            return found
        except (RunError, OSError) as error:
            with self._lock:
                self._leave()
                if not self._is_newest():
                    self._is_away = True  # a newer state took its place
            if self._is_away:
                return None
            again = f"`vlp index {self.snapshot.folder} --backend"
            if isinstance(error, AwayError):
                raise AwayError(f"{error}, or search without: {again} exact`") from error
            server = f" --server {self.options['server']}" if "server" in self.options else ""
            raise RunError(f"{error}. To build it afresh: {again} milvus{server}`") from error

    def _open(self) -> Collection:
        if "server" in self.options:
            opened = Collection(self.options["server"], self.state["collection"])
            self._undo.append(weakref.finalize(self, opened.close))
        else:
            private = _private_folder()
            self._undo.append(weakref.finalize(self, shutil.rmtree, private, ignore_errors=True))
            link_folder(self.snapshot.folder / self.state["files"][0], private / "links.db")
            opened = Collection(private / "links.db")
            self._undo.append(weakref.finalize(self, opened.close))
        opened.load()
        _check_rows(opened, self.snapshot, len(self.snapshot))
        self._collection = opened
        return opened

    def _leave(self) -> None:
        self._collection = None
        while self._undo:
            self._undo.pop()()

    def _is_newest(self) -> bool:
        mark = read_manifest(self.snapshot.folder).backend
        return (mark.name, mark.state) == (self.name, self.state)


def _private_folder() -> Path:
    """A temporary folder; those of readers of this machine that were killed are removed."""
    here = f".{platform.node()}."
    remove_leftovers_in(
        Path(tempfile.gettempdir()), lambda name: name.startswith(_PRIVATE) and here in name
    )
    return Path(tempfile.mkdtemp(prefix=_PRIVATE, suffix=f"{here}{os.getpid()}.tmp"))


def _update_folder(change: Change) -> dict[str, Any]:
    name = f"backend-milvus-{change.generation:06d}-{secrets.token_hex(4)}.db"
    path = change.folder / name
    try:
        if change.state:
            continue_folder(change.folder / change.state["files"][0], path)
        with Collection(path) as collection:
            _append(collection, change, change.first_new_row)
        flush_folder(path)
        if not change.state:
            rows = f"{len(change.after):,} rows, all of which each search looks at"
            change.say(f"Milvus Lite in {name}: {rows}")
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return {"files": [name]}


def _update_server(change: Change) -> dict[str, Any]:
    ledger = Ledger(change.folder)
    server = change.options["server"]
    entry = Entry(server, change.state.get("collection", ""))
    first = change.first_new_row
    if entry not in ledger.entries:  # a new one, also of a copied index: others have the old one
        if entry.collection:
            change.say(
                f"{change.folder} was copied or moved: the collection {entry.collection} at "
                f"{server} stays, drop it if no other index has it"
            )
        first = 0
        entry = Entry(server, f"vlp_{secrets.token_hex(8)}")
    with Collection(server, entry.collection) as collection:
        if not first:
            ledger.add(entry)
        _append(collection, change, first)
    if not first:
        rows = f"{len(change.after):,} rows"
        change.say(f"Milvus at {server}: {rows} in the collection {entry.collection}")
    return {"collection": entry.collection}


def _append(collection: Collection, change: Change, first: int) -> None:
    """Let a collection have all rows, of which it has those before the first already."""
    if first:
        collection.load()
        _check_rows(collection, change.after, first)
    else:
        collection.create(change.after.dim)
    collection.write(change.after, first)


def _check_rows(collection: Collection, snapshot: Snapshot, rows: int) -> None:
    """Raise RunError if a collection has not the first rows of a snapshot."""
    found = collection.count(int(snapshot.ids[rows - 1])) if rows else 0
    if found != rows:
        raise RunError(f"Milvus at {collection.uri}: {found} of {rows} rows are there")


def _check_address(server: Any) -> None:  # noqa: ANN401 (what a caller gives)
    try:
        if not isinstance(server, str):
            raise ValueError
        parts = urlsplit(server)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # also a port that is no number
        is_usable = False
    if not is_usable:
        raise InputError(f"server {server!r}: an address is like http://localhost:19530")
    if parts.username or parts.password:
        raise InputError(
            f"server: no user in the address, which is written into the index; set {TOKEN} "
            "to USER:PASSWORD"
        )
