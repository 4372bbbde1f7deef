"""Pictures, tables and shards for the tests of embeddings."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from vlp.data.index import write_index
from vlp.data.tar import write_tar


def picture(seed, size=(20, 14), kind="PNG"):
    """The bytes of a random picture of (width, height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind)
    return data.getvalue()


def folder_of(folder, names):
    """A folder of different pictures, by these names."""
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(seed))
    return folder


def shard_of(path, samples, index=True):
    """An indexed tar of samples (key, {extension: bytes, text or record})."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tar(path, [(key, {e: _bytes(v) for e, v in own.items()}) for key, own in samples])
    if index:
        write_index(path)
    return path


def _bytes(value):
    if isinstance(value, dict):
        return json.dumps(value).encode()
    return value.encode() if isinstance(value, str) else value


def json_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def embedded_table(path, pictures, **columns):
    """A parquet as `datasets` writes it: pictures as records of bytes and path, two row groups."""
    cells = [{"bytes": data, "path": name} for name, data in pictures]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(cells, kind), **columns})
    pq.write_table(table, path, row_group_size=2)
    return path


def quiet(text):
    """For what is told to people."""
