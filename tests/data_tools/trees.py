"""What the tests read back from a built folder."""

import json
import platform
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def leave_half_written(path: Path) -> None:
    """What a process of this machine leaves of a file that it is killed while writing."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    path.with_name(f".{path.name}.{platform.node()}.{ended.pid}.tmp").write_bytes(b"half")


def samples(shard: Path) -> dict[str, dict[str, bytes]]:
    """{key: {extension: bytes}} by the standard library's reader."""
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(shard) as tar:
        for member in tar:
            key, _, extension = member.name.partition(".")
            file = tar.extractfile(member)
            assert file is not None
            found.setdefault(key, {})[extension] = file.read()
    return found


def rows(shard: Path) -> list[dict[str, Any]]:
    """The rows of the parquet beside a shard."""
    return list(pq.read_table(shard.with_suffix(".parquet")).to_pylist())


def fields(members: dict[str, bytes]) -> dict[str, Any]:
    """The `.json` member of a sample."""
    return dict(json.loads(members["json"]))
