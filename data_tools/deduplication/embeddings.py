"""The pictures' embeddings that `score --embeddings` left beside the shards."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.deduplication.references import References, tars_below
from data_tools.deduplication.signatures import Vectors, vectors
from data_tools.samples import open_index
from vlp.data.index import sidecar_path
from vlp.errors import InputError

_COLUMNS = ["key", "src_sha256", "image"]


@dataclass(frozen=True)
class Embeddings:
    """One sidecar of embeddings, read shard by shard."""

    name: str

    def of(self, shard: Path) -> Vectors:
        """Unit vectors float32 of the samples that have one.

        Raises:
            InputError: there is no such sidecar, it is stale, or holds no vectors.
        """
        path = sidecar_path(shard, self.name)
        try:
            table = pq.read_table(path, columns=_COLUMNS)
            found = vectors(table["image"])
        except FileNotFoundError:
            raise InputError(
                f"{path} is missing; write it with: python -m data_tools score {shard} "
                f"--model MODEL --embeddings {self.name}"
            ) from None
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise InputError(f"{path}: no embeddings in a column `image` ({error})") from None
        if not table.select(_COLUMNS[:2]).equals(open_index(shard).table.select(_COLUMNS[:2])):
            raise InputError(f"{path} is of other samples or captions; run `score` again")
        rows = found.values.astype(np.float32)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.isfinite(rows).all() or not length.all():
            raise InputError(f"{path}: an embedding is zero, NaN or infinite")
        return Vectors(found.there, rows / length)

    def check(self, shards: Sequence[Path]) -> None:
        """Raises InputError where two shards were embedded by different models."""
        marks = {shard: self._mark(shard) for shard in shards}
        first, *others = marks
        for shard in others:
            if marks[shard] != marks[first]:
                raise InputError(
                    f"the sidecars {self.name} of {first} and {shard} were not made by the same "
                    "model and settings"
                )

    def references(self, places: Sequence[str], like: Path) -> References:
        """The embeddings of evaluation shards.

        Raises:
            InputError: there are none, or another model made them than those of the shard `like`.
        """
        names: list[str] = []
        rows = []
        missing = 0
        shards = [tar for place in places for tar in tars_below(place)]
        self.check([like, *shards])
        for shard in shards:
            found = self.of(shard)
            keys = open_index(shard).table["key"].to_pylist()
            names += [f"{shard}:{keys[row]}" for row in np.flatnonzero(found.there)]
            missing += int((~found.there).sum())
            rows.append(found.values)
        if not names:
            raise InputError(f"--against {' '.join(places)}: no shard with embeddings below it")
        return References(names, np.concatenate([r for r in rows if len(r)]), missing)

    def _mark(self, shard: Path) -> dict[str, Any]:
        try:
            metadata: dict[bytes, bytes] = pq.read_schema(sidecar_path(shard, self.name)).metadata
        except (FileNotFoundError, pa.ArrowException):
            self.of(shard)  # says what is wrong
            raise
        settings = json.loads((metadata or {}).get(b"vlp_recipe", b"{}"))
        return {name: value for name, value in settings.items() if name != "captions"}
