"""A stand-in encoder and small data sets in each layout, made of plain colours."""

import hashlib
import io
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import webdataset
from PIL import Image

from vlp import dist
from vlp.data.index import write_index
from vlp.data.tar import write_tar

PALETTE = {
    "red": (220, 30, 30),
    "green": (30, 180, 30),
    "blue": (30, 30, 220),
    "yellow": (230, 220, 40),
    "white": (250, 250, 250),
    "black": (5, 5, 5),
    "dark_grey": (70, 70, 70),
}


class Pixels:
    def __call__(self, image):
        return torch.from_numpy(np.array(image.resize((4, 4)))).permute(2, 0, 1)


class ColourEncoder:
    """Knows the colours: a picture's feature is its mean colour, a text's that of its last word."""

    device = torch.device("cpu")
    scale = torch.tensor(10.0)
    fingerprint = "0123456789abcdef" * 4
    preprocess = Pixels()

    @property
    def protocol(self):
        return {"image_size": [4, 4], "interp": "box", "context_length": 8, "precision": "fp32"}

    @property
    def description(self):
        return {"model": "colours", "pretrained": "none", "path": None, "act": "gelu"}

    def encode_image(self, images):
        mean = images.float().mean((2, 3)) / 255  # [n, 3]
        return F.normalize(torch.cat([mean - 0.5, 0.3 * torch.ones(len(mean), 1)], 1), dim=-1)

    def encode_text(self, texts):
        pixels = [torch.tensor(self.colour(text)).view(3, 1, 1).expand(3, 4, 4) for text in texts]
        return self.encode_image(torch.stack(pixels))

    def colour(self, text):
        for name, value in PALETTE.items():
            if name.replace("_", " ") in text:
                return value
        return tuple(hashlib.md5(text.encode()).digest()[:3])

    def truncated(self, texts):
        return sum(len(text.split()) > 8 for text in texts)


class ConstantEncoder(ColourEncoder):
    """Says the same to everything."""

    def encode_image(self, images):
        return F.normalize(torch.ones(len(images), 33), dim=-1)

    def encode_text(self, texts):
        return F.normalize(torch.ones(len(texts), 33), dim=-1)


def picture(colour, seed=0, file_format="PNG"):
    """The bytes of a noisy picture of one colour."""
    noise = np.random.default_rng(seed).integers(-12, 12, (9, 11, 3))
    pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, lossless=True)
    return buffer.getvalue()


class Ranks:
    """Ranks as threads: `vlp.dist` as it behaves in a group, without the cost of processes."""

    def __init__(self, world):
        self.world, self.barrier = world, threading.Barrier(world, timeout=30)
        self.local, self.slots = threading.local(), [None] * world

    def patch(self, monkeypatch):
        monkeypatch.setattr(dist, "rank", lambda: self.local.rank)
        monkeypatch.setattr(dist, "world_size", lambda: self.world)
        monkeypatch.setattr(dist, "gather_objects", self.gather)
        monkeypatch.setattr(dist, "gather_rows", lambda rows: torch.cat(self.gather(rows)))

    def gather(self, value):
        self.slots[self.local.rank] = value
        self.barrier.wait()
        everything = list(self.slots)
        self.barrier.wait()
        return everything

    def run(self, function):
        def on_rank(rank):
            self.local.rank = rank
            return function()

        with ThreadPoolExecutor(self.world) as pool:
            return list(pool.map(on_rank, range(self.world)))


@pytest.fixture
def encoder():
    return ColourEncoder()


@pytest.fixture
def constant():
    return ConstantEncoder()


@pytest.fixture
def class_folders(tmp_path):
    root = tmp_path / "colours"
    for label, (name, colour) in enumerate(PALETTE.items()):
        for k in range(3):
            file = root / "test" / name / f"{k}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(picture(colour, 10 * label + k))
    return root


@pytest.fixture
def benchmark_classes(tmp_path):
    """CLIP_benchmark's layout as the webdataset package writes it: two shards."""
    root = tmp_path / "wds_colours"
    (root / "test").mkdir(parents=True)
    (root / "classnames.txt").write_text("red\n green \nblue\n\n")
    (root / "zeroshot_classification_templates.txt").write_text("a {c}\nall {c}\n")
    (root / "test" / "nshards.txt").write_text("2")
    for shard in range(2):
        with webdataset.TarWriter(str(root / "test" / f"{shard}.tar")) as tar:
            for k in range(3):
                n = 3 * shard + k
                form = ("WEBP", "PNG", "JPEG")[k]
                extension = ("webp", "png", "jpg")[k]
                data = picture(list(PALETTE.values())[n % 3], n, form)
                tar.write({"__key__": f"s{n:07d}", extension: data, "cls": str(n % 3).encode()})
    return root


@pytest.fixture
def benchmark_captions(tmp_path):
    """CLIP_benchmark's layout for retrieval: several captions a picture, one with a line break."""
    root = tmp_path / "wds_captions"
    (root / "test").mkdir(parents=True)
    (root / "dataset_type.txt").write_text("Retrieval\n")
    (root / "test" / "nshards.txt").write_text("1\n")
    with webdataset.TarWriter(str(root / "test" / "0.tar")) as tar:
        for n, (name, colour) in enumerate(PALETTE.items()):
            captions = f"something {name}\nthis\\nis {name}".replace("_", " ")
            tar.write({"__key__": f"s{n:07d}", "png": picture(colour, n), "txt": captions.encode()})
    return root


@pytest.fixture
def own_shards(tmp_path):
    """Indexed shards: the record lists all captions, the text member only the first."""
    root = tmp_path / "own"
    samples = []
    for n, (name, colour) in enumerate(PALETTE.items()):
        word = name.replace("_", " ")
        record = f'{{"captions": ["it is {word}", "a thing that is {word}"]}}'
        members = {"png": picture(colour, n), "txt": f"it is {word}".encode()}
        samples.append((f"{n:09d}", {**members, "json": record.encode()}))
    (root / "test").mkdir(parents=True)
    for number, part in enumerate((samples[:4], samples[4:])):
        shard = root / "test" / f"{number:05d}.tar"
        write_tar(shard, part)
        write_index(shard)
    return root


def add_to_tar(path, members):
    with tarfile.open(path, "a") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def counted(tmp_path):
    """Two shards of grey pictures that show a number; sidecars are written by the test."""
    from tests.eval.grey import write_counted  # which has its models from here

    return write_counted(tmp_path)
