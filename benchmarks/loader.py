"""Pairs a second through the loader, side by side with open_clip's.

    python benchmarks/loader.py [--shards 'data/x/train/{00000..00005}.tar'] [--workers 1]

Both read the same shards with open_clip's default augmentation (random resized crop of 0.9 to 1 of
the area, 224 pixels) and tokenize the captions. open_clip's trainer does not run with webdataset
1.x, so it gets an environment of its own, with this one's packages and webdataset 0.2.86. The two
take turns; the medians and their ratio are printed. Without `--shards`, 2,000 smooth random
pictures of 256 x 320 pixels are made.
"""

import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import numpy as np
import open_clip
import torch
from braceexpand import braceexpand
from jsonargparse import auto_cli
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from vlp.data.index import write_index
from vlp.data.loader import PairDataset, Pipeline, batches
from vlp.data.order import BatchOrder
from vlp.data.source import Source, SourceConfig
from vlp.data.tar import write_tar
from vlp.data.transforms import Augment, TrainTransform
from vlp.model.text import Trimmer
from vlp.model.tokens import Tokenizer

BATCH, SIZE, TURNS = 64, 224, 5
PEER = """
import json, sys, time, types
import open_clip
from open_clip_train.data import get_wds_dataset
shards, samples, batch, size, workers = json.loads(sys.argv[1])
args = types.SimpleNamespace(
    train_data=shards, train_num_samples=samples, dataset_resampled=False, workers=workers,
    train_data_upsampling_factors=None, batch_size=batch, world_size=1, rank=0, seed=0,
)
transform = open_clip.image_transform(size, is_train=True)
data = get_wds_dataset(args, transform, True, tokenizer=open_clip.get_tokenizer("ViT-B-32"))
iterator = iter(data.dataloader)
next(iterator)
begin, seen = time.perf_counter(), 0
for pictures, texts in iterator:
    seen += len(pictures)
print("PAIRS_PER_SECOND", seen / (time.perf_counter() - begin))
"""


def make_shards(folder: Path) -> str:
    """Smooth random pictures with captions, in two shards; their brace pattern."""
    rng = np.random.default_rng(0)
    for shard in range(2):
        samples = []
        for i in range(1000):
            coarse = Image.fromarray(rng.integers(0, 256, (32, 40, 3), dtype=np.uint8))
            data = io.BytesIO()
            coarse.resize((320, 256), Image.Resampling.BICUBIC).save(data, "JPEG", quality=90)
            caption = " ".join(rng.choice(["a", "red", "dog", "on", "the", "beach"], 12))
            samples.append(
                (f"{shard:05d}{i:04d}", {"jpg": data.getvalue(), "txt": caption.encode()})
            )
        path = folder / f"{shard:05d}.tar"
        write_tar(path, samples)
        write_index(path)
    return str(folder / "{00000..00001}.tar")


def peer_python(folder: Path) -> Path:
    """The interpreter of an environment with this one's packages, but webdataset 0.2.86."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    own = [path for path in sys.path if path.endswith("site-packages")]
    (site,) = folder.glob("lib/python*/site-packages")
    needs = ["webdataset==0.2.86", "pandas"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", *needs], check=True)
    (site / "ours.pth").write_text("\n".join(own))
    return python


def ours(shards: str, workers: int) -> float:
    """Pairs a second of one epoch after the first batch."""
    source = Source("x", SourceConfig(shards=shards))
    tokenizer = Tokenizer(open_clip.get_tokenizer("ViT-B-32"))
    pipeline = Pipeline(
        transform=TrainTransform((SIZE, SIZE), Augment()),
        tokenize=tokenizer,
        truncated=tokenizer.truncated,
        trim=Trimmer("argmax", 2),
    )
    order = BatchOrder({"x": source.lengths}, {"x": 1.0}, BATCH, 0, 8192)
    dataset = PairDataset({"x": source}, order, pipeline, (0, BATCH))
    steps = sum(source.lengths) // BATCH
    iterator = batches(dataset, 0, steps, workers=workers, pin_memory=False)
    next(iterator)
    begin, seen = time.perf_counter(), 0
    for batch in iterator:
        seen += len(batch["rows"]["pixels"])
    return seen / (time.perf_counter() - begin)


def theirs(python: Path, shards: str, workers: int) -> float:
    samples = sum(Source("x", SourceConfig(shards=shards)).lengths)
    given = json.dumps([shards, samples, BATCH, SIZE, workers])
    done = subprocess.run(
        [python, "-W", "ignore", "-c", PEER, given], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout.rpartition("PAIRS_PER_SECOND")[2])


def main(shards: str | None = None, workers: int = 1) -> None:
    """Measure and print.

    Args:
        shards: brace pattern of indexed shards; made when not given.
        workers: loader processes on both sides, at most one a shard.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if shards is None:
            Path(folder, "shards").mkdir()
            shards = make_shards(Path(folder, "shards"))
        python = peer_python(Path(folder, "peer"))
        print(f"{len(list(braceexpand(shards)))} shards, {workers} workers, {SIZE} pixels")
        rates: dict[str, list[float]] = {"ours": [], "open_clip": []}
        for _ in range(TURNS):
            rates["ours"].append(ours(shards, workers))
            rates["open_clip"].append(theirs(python, shards, workers))
    for name, found in rates.items():
        shown = ", ".join(f"{rate:.0f}" for rate in found)
        print(f"{name:>10}  median {statistics.median(found):7.0f} pairs/s  ({shown})")
    ratios = [a / b for a, b in zip(rates["ours"], rates["open_clip"], strict=True)]
    low, high = min(ratios), max(ratios)
    print(f"     ratio  median {statistics.median(ratios):7.2f}  ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    auto_cli(main)
