"""Fixtures: a tiny model and tiny shards that every test may train on."""

import io
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: tests run beside one another
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest
from PIL import Image

from vlp.data.index import write_index
from vlp.data.tar import write_tar

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8},
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}
WORDS = ["red", "green", "small", "large", "circle", "star", "left", "right", "two", "three"]


@pytest.fixture(scope="session")
def tiny_arch(tmp_path_factory) -> str:
    """A JSON model file of a model that trains in milliseconds."""
    path = tmp_path_factory.mktemp("arch") / "tiny.json"
    path.write_text(json.dumps(TINY))
    return str(path)


def make_shards(folder: Path, lengths: list[int], seed: int = 0) -> list[str]:
    """Indexed shards of random pictures with captions of different lengths."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for shard, length in enumerate(lengths):
        samples = []
        for i in range(length):
            picture = Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8))
            data = io.BytesIO()
            picture.save(data, "JPEG", quality=95)
            words = rng.choice(WORDS, size=rng.integers(2, 9))
            caption = f"{shard} {i} {' '.join(words)}"
            record = {"captions": [caption, f"another {caption}"], "caption": caption}
            members = {
                "jpg": data.getvalue(),
                "json": json.dumps(record).encode(),
                "txt": caption.encode(),
            }
            samples.append((f"{shard:05d}{i:04d}", members))
        path = folder / f"{shard:05d}.tar"
        write_tar(path, samples)
        write_index(path)
        paths.append(str(path))
    return paths


@pytest.fixture(scope="session")
def shards(tmp_path_factory) -> Path:
    """A folder with three shards of 40, 17 and 7 samples."""
    folder = tmp_path_factory.mktemp("shards")
    make_shards(folder, [40, 17, 7])
    return folder
