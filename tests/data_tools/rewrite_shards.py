"""Indexed shards of given captions, and what a rewrites sidecar says of them."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.data_tools.conftest import jpeg
from vlp.data.index import sidecar_path, write_index


def shard(path: Path, captions: Mapping[str, str | Sequence[str] | None]) -> Path:
    """A tar with a picture for each key, and its captions; None leaves the text out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (key, given) in enumerate(captions.items()):
            _add(tar, f"{key}.jpg", jpeg(number))
            texts = [given] if isinstance(given, str) else list(given or ())
            if texts:
                _add(tar, f"{key}.json", json.dumps({"captions": texts}).encode())
                _add(tar, f"{key}.txt", texts[0].encode())
    write_index(path)
    return path


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def rewrites(path: Path, name: str = "rewrites") -> dict[str, dict[str, Any]]:
    """{key: row} of a shard's sidecar."""
    table = pq.read_table(sidecar_path(path, name)).to_pylist()
    return {row["key"]: row for row in table}


def replay(path: Path, answers: Mapping[str, str | Sequence[str]]) -> Path:
    """A file of answers by key."""
    rows = [
        {"key": key, "answers": [given] if isinstance(given, str) else list(given)}
        for key, given in answers.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
