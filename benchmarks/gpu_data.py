"""The data tools' rows of `benchmarks/gpu.py`: how many pictures a second the model commands take.

score    `score` of one shard of JPEGs (256 x 192 pixels) with a ViT-B/32 of random weights, in one
         worker, from the tar to the rows of the sidecar; and the picture tower alone on pixels that
         are on the device, which is what decoding is to keep up with
"""

import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from data_tools.engine import cores
from data_tools.model_worker import Precision, WorkerModel, loaded
from data_tools.scoring.shard import Scoring, score_shard
from vlp.checkpoint import publish
from vlp.data.index import write_index
from vlp.data.tar import write_tar
from vlp.model.build import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer


def measure_data_tools(device: torch.device) -> None:
    """Print the rows; on a CPU with sizes that only try them."""
    on_gpu = device.type == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        shard = _shard(Path(folder), 4096 if on_gpu else 24)
        model = _model(Path(folder) / "model")
        for precision in ("fp32", "bf16") if on_gpu else ("fp32",):
            _score(shard, model, precision, on_gpu)


def _score(shard: Path, model: Path, precision: Precision, on_gpu: bool) -> None:
    worker = WorkerModel(
        source=str(model),
        device="cuda" if on_gpu else "cpu",
        precision=precision,
        threads=cores(),
    )
    scoring = Scoring(model=worker, captions="first", batch=256 if on_gpu else 8, embeddings=None)
    score_shard(shard, scoring)  # loads the model
    started = time.perf_counter()
    made = score_shard(shard, scoring)
    seconds = time.perf_counter() - started
    encoder = loaded(worker)
    pixels = torch.randint(0, 256, (scoring.batch, 3, 224, 224), dtype=torch.uint8)
    pixels = pixels.to(encoder.device)
    encoder.encode_image(pixels).cpu()
    started = time.perf_counter()
    for _ in range(5):
        encoder.encode_image(pixels).cpu()
    tower = (time.perf_counter() - started) / 5
    row = {
        "row": "score",
        "precision": precision,
        "pictures": made.counts["scored"],
        "pictures_per_second": round(made.counts["scored"] / seconds, 1),
        "tower_pictures_per_second": round(scoring.batch / tower, 1),
        "decoding_threads": worker.threads,
    }
    print(json.dumps(row), flush=True)


def _shard(folder: Path, pictures: int) -> Path:
    rng = np.random.default_rng(0)
    path = folder / "00000.tar"

    def members(number: int) -> dict[str, bytes]:
        small = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(small).resize((256, 192)).save(buffer, "JPEG", quality=90)
        return {"jpg": buffer.getvalue(), "txt": f"picture {number} of a dog on a beach".encode()}

    write_tar(path, ((f"{number:09d}", members(number)) for number in range(pictures)))
    write_index(path)
    return path


def _model(folder: Path) -> Path:
    folder.mkdir()
    model = build_model(ModelConfig(arch="ViT-B-32"))
    tokenizer = build_tokenizer(model.description.model_cfg)
    facts = {"weights": "last", "samples_seen": 0, "step": 0, "recipe": {}}
    publish(folder, model.clip.state_dict(), model.description, tokenizer, facts)
    return folder
