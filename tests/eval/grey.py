"""Grey pictures that show a number, models that count and write, and sidecars for them."""

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F

from eval.run import evaluate_tasks
from eval.spec import EvalSpec
from tests.eval.conftest import ColourEncoder, picture
from vlp.data.index import caption_sha256, sidecar_path, write_index
from vlp.data.numbers import NUMBERS, find_numbers
from vlp.data.tar import write_tar

QUIET = {"description": {}, "output": None, "show_progress": False}
CAPTIONS = [
    "Two kittens often",
    "a scene of three red circles",
    "nothing to count",
    "TEN blue stars and nine rings",
    "nine dogs",
]
COUNTS = [2, 3, None, 10, 9]
LEVELS = [20, 30, 150, 100, 90]  # grey level of the picture: ten times what it shows


class CountEncoder(ColourEncoder):
    """Counts: a picture's feature is its grey level, a text's its first number word."""

    def encode_image(self, images):
        return self.on_circle(images.float().mean((1, 2, 3)) / 10)

    def encode_text(self, texts):
        spans = [find_numbers(text) for text in texts]
        return self.on_circle(torch.tensor([float(s[0].count) if s else 15.0 for s in spans]))

    def on_circle(self, numbers):
        angle = numbers * 0.1
        return F.normalize(torch.stack([angle.cos(), angle.sin()], 1), dim=-1)


class Writer(CountEncoder):
    """Writes a caption that says how many there are."""

    captions = True
    asked = ()

    def caption(self, images, *, method="greedy", seed=0, **others):
        self.asked += ((method, seed, others),)
        levels = (images.float().mean((1, 2, 3)) / 10).round().int().tolist()
        return [f"{NUMBERS[level]} dogs" if level in NUMBERS else "" for level in levels]


def write_counted(tmp_path):
    """Two shards of grey pictures; `counts` beside them is written by the test."""
    root = tmp_path / "counted" / "test"
    root.mkdir(parents=True)
    samples = [
        (f"{n:09d}", {"png": picture((level,) * 3, n), "txt": caption.encode()})
        for n, (caption, level) in enumerate(zip(CAPTIONS, LEVELS, strict=True))
    ]
    for number, part in enumerate((samples[:3], samples[3:])):
        write_tar(root / f"{number:05d}.tar", part)
        write_index(root / f"{number:05d}.tar")
    return root.parent


def write_sidecar(root, name, values, captions=CAPTIONS):
    """A row for every sample whose value is not None."""
    for shard in sorted((root / "test").glob("*.tar")):
        own = range(3) if shard.stem == "00000" else range(3, 5)
        rows = [
            {
                "key": f"{n:09d}",
                "src_sha256": caption_sha256(captions[n].encode()),
                **values[n],
            }
            for n in own
            if values[n] is not None
        ]
        empty = {"key": [], "src_sha256": [], **{k: [] for v in values if v for k in v}}
        path = sidecar_path(shard, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows) if rows else pa.table(empty), path)


def write_counts(root, captions=CAPTIONS):
    rows = [count and {"count": count, "noun": ""} for count in COUNTS]
    write_sidecar(root, "counts", rows, captions)


def write_negatives(root, kinds=("count", "other")):
    rows = [
        {"texts": [text.lower().replace("nine", "four"), "four cats"], "kinds": list(kinds)}
        for text in CAPTIONS
    ]
    rows[2] = None
    write_sidecar(root, "negatives", rows)


def spec(task, data, **options):
    return EvalSpec(task=task, data=str(data), batch=2, **options)


def record_of(encoder, task):
    return evaluate_tasks(encoder, task, (task.task,), **QUIET)[task.task]
