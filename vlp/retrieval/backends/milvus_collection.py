"""A collection of Milvus that holds ids and vectors: on a server, or of Milvus Lite in a folder."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlp.errors import InputError, RunError
from vlp.progress import bar
from vlp.retrieval.snapshot import Rows, Snapshot

TOKEN = "MILVUS_TOKEN"  # environment variable: it must not be written into an index
MOST = 16384  # hits of one search: the limit that servers have by default
_BATCH = 1000  # rows of one request
_CONNECTING, _SEARCHING, _WRITING = 10.0, 60.0, 300.0  # seconds
_ID, _VECTOR = "id", "vector"
_IN_FOLDER = "rows"  # name of the collection


class AwayError(RunError):
    """A server that does not answer; the text may go on with what else can be done."""


class Collection:
    """A connection and the name of a collection, which may be yet to be made.

    Args:
        uri: of the server, or a folder whose name ends with `.db`, which is made if need be and
            which no other process may open at the same time.
        name: of the collection; a folder has one alone.

    Raises:
        InputError: pymilvus is not installed.
        AwayError: the server does not answer; here and in all methods.
        RunError: it refuses; here and in all methods.
    """

    def __init__(self, uri: str | Path, name: str = _IN_FOLDER) -> None:
        import_milvus()
        from pymilvus import MilvusClient

        self.uri = str(uri)
        self.name = name
        self._folder = uri if isinstance(uri, Path) else None
        channel = {"grpc.use_local_subchannel_pool": 1}  # else one waits for others' failures
        options: dict[str, Any] = {"timeout": _CONNECTING, "grpc_options": channel}
        if self._folder is None:
            options["token"] = os.environ.get(TOKEN, "")
        else:
            channel["grpc.enable_http_proxy"] = 0  # it is on this machine, where no proxy leads
        try:
            with self._errors_named():
                # dedicated: others are kept for later by port, and Milvus Lite takes any free one
                self._client = MilvusClient(self.uri, dedicated=True, **options)
        except RunError:
            self._release_folder()
            raise

    def __enter__(self) -> "Collection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the server, or of the folder."""
        self._client.close()
        self._release_folder()

    def _release_folder(self) -> None:
        if self._folder is not None:
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self.uri)

    def exists(self) -> bool:
        """Whether it is there."""
        with self._errors_named():
            return bool(self._client.has_collection(self.name, timeout=_SEARCHING))

    def create(self, dim: int) -> None:
        """Make it, empty, for vectors of this length."""
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(_ID, DataType.INT64, is_primary=True)
        schema.add_field(_VECTOR, DataType.FLOAT_VECTOR, dim=dim)
        params = self._client.prepare_index_params()
        if self._folder is None:  # in a folder the index would be a second copy of the vectors
            params.add_index(_VECTOR, "AUTOINDEX", metric_type="IP")
        with self._errors_named():
            self._client.create_collection(
                self.name, schema=schema, index_params=params, timeout=_WRITING
            )

    def write(self, snapshot: Snapshot, first: int) -> None:
        """Insert a snapshot's rows from one on; rows that have their ids are replaced."""
        with bar("milvus", "rows", len(snapshot) - first) as progress, self._errors_named():
            for at in range(first, len(snapshot), _BATCH):
                rows = np.arange(at, min(at + _BATCH, len(snapshot)))
                pairs = zip(snapshot.ids[rows].tolist(), snapshot.vectors(rows), strict=True)
                data = [{_ID: own, _VECTOR: vector} for own, vector in pairs]
                self._client.upsert(self.name, data, timeout=_WRITING)
                progress.update(len(rows))
            if self._folder is not None:  # servers do so when they see fit
                self._client.flush(self.name, timeout=_WRITING)

    def load(self) -> None:
        """Make it ready for searches."""
        with self._errors_named():
            self._client.load_collection(self.name, timeout=_WRITING)

    def count(self, last: int) -> int:
        """Rows with ids up to one."""
        with self._errors_named():
            found = self._client.query(
                self.name,
                filter=f"{_ID} <= {last}",
                output_fields=["count(*)"],
                consistency_level="Strong",
                timeout=_SEARCHING,
            )
            return int(found[0]["count(*)"])

    def nearest(self, query: NDArray[np.float32], limit: int) -> Rows:
        """Ids of about the largest inner products, best first."""
        with self._errors_named():
            (hits,) = self._client.search(
                self.name,
                [query],
                anns_field=_VECTOR,
                limit=limit,
                output_fields=[_ID],
                search_params={"metric_type": "IP"},
                consistency_level="Strong",  # what was added last is found
                timeout=_SEARCHING,
            )
        return np.array([hit[_ID] for hit in hits], np.int64)

    def drop(self) -> None:
        """Remove it, if it is there."""
        with self._errors_named():
            self._client.drop_collection(self.name, timeout=_WRITING)

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Errors of Milvus as AwayError or RunError that tells where."""
        import grpc
        from pymilvus import MilvusException

        try:
            yield
        except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError) as error:
            if self._folder is None and _is_away(error):
                raise AwayError(f"no Milvus server answers at {self.uri}: start it") from error
            told = str(getattr(error, "message", "") or error) or type(error).__name__
            raise RunError(f"Milvus at {self.uri}: {told.splitlines()[0]}") from error


def _is_away(error: Exception) -> bool:
    import grpc
    from pymilvus.client.types import Status

    code = error.code() if isinstance(error, grpc.RpcError) else getattr(error, "code", None)
    signs = (Status.CONNECT_FAILED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return isinstance(error, grpc.FutureTimeoutError) or code in signs


@cache
def import_milvus() -> None:
    """Import pymilvus, and let it tell errors by exceptions alone, not by tracebacks on stderr.

    Raises:
        InputError: it is not installed.
    """
    try:
        import milvus_lite  # noqa: F401
        import pymilvus  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"the backend milvus needs {error.name}: pip install 'vlp[milvus]'"
        ) from None
    for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
