"""The data tools' rows of `benchmarks/gpu.py`: how many pictures a second the model commands take.

score    `score` of one shard of JPEGs (256 x 192 pixels) with a ViT-B/32 of random weights, in one
         worker, from the tar to the rows of the sidecar; and the picture tower alone on pixels that
         are on the device, which is what decoding is to keep up with
detect   the detector of `counts` over one shard of JPEGs (640 x 480 pixels) with an RT-DETR of
         random weights, from the tar to the rows of the sidecar; and the model's forward alone on
         pixels that are on the device; `boxes` are those of all pictures, on a GPU as many as
         there can be
rewrite  of language models, see `benchmarks/gpu_rewrite.py`
"""

import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from benchmarks.gpu_models import clip_model, detector, language_model
from benchmarks.gpu_rewrite import measure_rewriting
from data_tools.counting.detectors import Detector, detect_shard
from data_tools.engine import cores
from data_tools.scoring.model_worker import Precision, WorkerModel, loaded
from data_tools.scoring.shard import Scoring, score_shard
from vlp.data.index import write_index
from vlp.data.tar import write_tar


def measure_data_tools(device: torch.device) -> None:
    """Print the rows; on a CPU with sizes that only try them."""
    on_gpu = device.type == "cuda"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shard = _shard(folder / "score.tar", 4096 if on_gpu else 24, (256, 192))
        model = clip_model(folder / "clip")
        for precision in ("fp32", "bf16") if on_gpu else ("fp32",):
            _score(shard, model, precision, on_gpu)
        _detect(folder, device)
        measure_rewriting(language_model(folder / "llama", device), device)


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


def _detect(folder: Path, device: torch.device) -> None:
    on_gpu = device.type == "cuda"
    model = detector(folder / "detector", device)
    asked = Detector(
        folder=model,
        prompted=False,
        captions="first",
        batch=16 if on_gpu else 4,
        device=device.type,
    )
    shard = _shard(folder / "detect.tar", 512 if on_gpu else 12, (640, 480))
    warm = _shard(folder / "warm.tar", asked.batch, (640, 480))
    detect_shard(warm, asked)  # loads the model
    started = time.perf_counter()
    made = detect_shard(shard, asked)
    rate = made.counts["pictures"] / (time.perf_counter() - started)
    forward = _forward_rate(model, asked.batch, device)
    row = {
        "row": "detect",
        "batch": asked.batch,
        "pictures": made.counts["pictures"],
        "boxes": sum(len(sample["boxes"]) for sample in made.rows),
        "pictures_per_second": round(rate, 1),
        "forward_pictures_per_second": round(forward, 1),
        "vs_forward": round(rate / forward, 3),
    }
    print(json.dumps(row), flush=True)


@torch.inference_mode()
def _forward_rate(folder: Path, batch: int, device: torch.device) -> float:
    """Pictures a second of a detector's forward, in the precision of its weights."""
    model = AutoModelForObjectDetection.from_pretrained(folder).to(device).eval()
    processor = AutoImageProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    pictures = [Image.new("RGB", (640, 480))] * batch
    pixels = processor(images=pictures, return_tensors="pt")["pixel_values"].to(device)
    model(pixel_values=pixels).logits.cpu()
    started = time.perf_counter()
    for _ in range(10):
        model(pixel_values=pixels).logits.cpu()
    return 10 * batch / (time.perf_counter() - started)


def _shard(path: Path, pictures: int, size: tuple[int, int]) -> Path:
    """Pictures of `size` pixels (width, height), with captions that count something."""
    rng = np.random.default_rng(0)

    def members(number: int) -> dict[str, bytes]:
        small = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(small).resize(size).save(buffer, "JPEG", quality=90)
        return {"jpg": buffer.getvalue(), "txt": f"two dogs on beach {number}".encode()}

    write_tar(path, ((f"{number:09d}", members(number)) for number in range(pictures)))
    write_index(path)
    return path
