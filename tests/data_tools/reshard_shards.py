"""Small shards to be resharded and exported, and how to read what comes of them."""

import tarfile
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.reshard import Reshard, reshard
from vlp.data.index import ShardIndex, sidecar_path, write_index
from vlp.data.tar import write_tar

HEAD = (("key", pa.string()), ("src_sha256", pa.string()))
LIST = pa.list_(pa.string())
TEXTS = pa.schema([*HEAD, ("texts", LIST)])


def members(key, text):
    """A sample whose picture is told by its key."""
    return {"jpg": b"picture of " + key.encode(), "json": b"{}", "txt": text.encode()}


def write_shards(folder, groups):
    """Shards of {key: members}, indexed."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, group in enumerate(groups):
        path = folder / f"{number:05d}.tar"
        write_tar(path, group.items())
        write_index(path)
    return folder


def write_rows(shard, name, rows, schema=TEXTS):
    """A sidecar of a shard."""
    path = sidecar_path(shard, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


def read_rows(shard, name):
    """The rows of a sidecar."""
    return pq.read_table(sidecar_path(shard, name)).to_pylist()


def heads(shard):
    """What the rows of sidecars begin with, for every sample."""
    index = ShardIndex.read(str(shard))
    return [
        {"key": index.key(row), "src_sha256": index.src_sha256(row)} for row in range(len(index))
    ]


def run(*inputs, output, **options):
    """`reshard` in this process; returns the output."""
    options = {"executor": "serial", **options}
    reshard(Reshard(shards=[str(path) for path in inputs], output=output, **options))
    return output


def contents(folder):
    """[(key, members)] of all shards, in their order."""
    found = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, extension = member.name.rpartition(".")
                parts = found.setdefault((shard, key), {})
                parts[extension] = tar.extractfile(member).read()
    return [(key, parts) for (_, key), parts in found.items()]


def keys(folder):
    """The keys of all shards, in their order."""
    return [key for key, _ in contents(folder)]


def counted(pairs):
    """How many there are of each sample, by all of its bytes."""
    return Counter((key, tuple(sorted(members.items()))) for key, members in pairs)


def dropped(folder):
    """The rows of dropped.parquet."""
    path = folder / "dropped.parquet"
    return pq.read_table(path).to_pylist() if path.exists() else []
