"""Pictures on disk, and what an index holds of them."""

import hashlib
import os

import numpy as np
from PIL import Image

from vlp.retrieval.store import Store


def draw(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def rows(index):
    """The metadata of what can be found."""
    snapshot = Store(index).snapshot()
    return snapshot.table(np.flatnonzero(snapshot.live)).to_pylist()


def contents(index, encoder):
    """{name: sha256} of the rows, with every vector checked against the model's."""
    snapshot = Store(index).snapshot()
    live = np.flatnonzero(snapshot.live)
    table = rows(index)
    there = [place for place, row in enumerate(table) if os.path.exists(row["image_path"])]
    if there:
        expected = encoder.encode_image([table[place]["image_path"] for place in there]).numpy()
        assert np.abs(snapshot.vectors(live[there]) - expected).max() < 2e-3  # float16
    found = {os.path.basename(row["image_path"]): row["sha256"] for row in table}
    assert len(found) == len(table)
    return found


def on_disk(folder):
    """The same of a folder's pictures, one name for each content, the first in order."""
    found = {}
    for path in sorted(folder.glob("*.png")):
        found.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), path.name)
    return {name: sha256 for sha256, name in found.items()}
