"""The rows of `benchmarks/gpu.py` for checkpoints in use: features of pictures and texts.

features    ViT-B/32, pictures a second and texts a second: open_clip's model on normalised float
            pictures and padded captions, our encoder on uint8 pictures and strings, in each
            precision; lowest cosine with open_clip's float32 features
embed       2,000 JPEG files to rows: read, hashed, decoded by threads, encoded, pictures a second
background  the 1,000 generic texts of an index, seconds
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vlp.encoder import Encoder
from vlp.model.build import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer
from vlp.retrieval.background import generic_texts, make_background
from vlp.retrieval.embedding.embed import EmbedOptions, embed_pictures
from vlp.retrieval.embedding.items import DataOptions
from vlp.retrieval.embedding.sources import open_data

T = TypeVar("T")
_ARCH = "ViT-B-32"


def measure_retrieval(device: torch.device) -> None:
    """Print the rows; on a CPU with sizes that only try them."""
    small = device.type == "cpu"
    model = build_model(ModelConfig(arch=_ARCH)).to(device).eval()
    model.trim_exactly()
    tokenizer = build_tokenizer(model.description.model_cfg)
    pixels = torch.randint(0, 256, (8 if small else 1024, 3, 224, 224), dtype=torch.uint8)
    texts = generic_texts()[: 8 if small else 1000]
    expected = _open_clip(model.clip, pixels, texts, device, None)
    for precision in ("fp32",) if small else ("fp32", "bf16", "fp16"):
        dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        images, strings = _open_clip(model.clip, pixels, texts, device, dtype)
        _print("open_clip", precision, images, strings, expected)
        encoder = Encoder(model, tokenizer, precision=precision)
        _print("ours", precision, *_ours(encoder, pixels, texts, device), expected)
    _embed(Encoder(model, tokenizer, precision="fp32" if small else "bf16"), 40 if small else 2000)
    seconds, _ = _timed(lambda: make_background(encoder.encode_text), device)
    print(json.dumps({"row": "background", "seconds": seconds}), flush=True)


_Rate = tuple[float, Tensor]  # of so many a second, [n, D]


def _open_clip(
    clip: torch.nn.Module,
    pixels: Tensor,
    texts: list[str],
    device: torch.device,
    dtype: torch.dtype | None,
) -> tuple[_Rate, _Rate]:
    """Pictures and texts as open_clip's users encode them, from the host's memory."""
    tokenize = open_clip.get_tokenizer(_ARCH)
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    pictures = (pixels / 255 - mean) / std  # which its transform makes in the loader

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)

    def images() -> Tensor:
        with torch.inference_mode(), autocast():
            found: Tensor = clip.encode_image(pictures.to(device), normalize=True)  # type: ignore[operator]
            return found.float()

    def strings() -> Tensor:
        with torch.inference_mode(), autocast():
            found: Tensor = clip.encode_text(tokenize(texts).to(device), normalize=True)  # type: ignore[operator]
            return found.float()

    return _rated(images, device), _rated(strings, device)


def _ours(
    encoder: Encoder, pixels: Tensor, texts: list[str], device: torch.device
) -> tuple[_Rate, _Rate]:
    return (
        _rated(lambda: encoder.encode_image(pixels), device),
        _rated(lambda: encoder.encode_text(texts, report_truncated=False), device),
    )


def _print(
    who: str, precision: str, images: _Rate, texts: _Rate, expected: tuple[_Rate, _Rate]
) -> None:
    row: dict[str, object] = {"row": "features", "who": who, "precision": precision}
    for name, own, right in zip(("images", "texts"), (images, texts), expected, strict=True):
        row[f"{name}_per_second"] = round(own[0], 1)
        lowest = F.cosine_similarity(own[1].float(), right[1].float()).min()
        row[f"{name}_lowest_cosine"] = float(lowest)
    print(json.dumps(row), flush=True)


def _embed(encoder: Encoder, number: int) -> None:
    """Files of 480 x 360 pixels with the detail of photos; JPEG decoding is most of the work."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for place in range(number):
            coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
            coarse.resize((480, 360), Image.Resampling.BICUBIC).save(Path(folder, f"{place}.jpg"))
        items = open_data(folder, DataOptions(), lambda line: None)
        embed_pictures(encoder, items[:8], EmbedOptions())
        start = time.perf_counter()
        found = embed_pictures(encoder, items, EmbedOptions())
        seconds = time.perf_counter() - start
    rate = round(len(found.table) / seconds, 1)
    print(json.dumps({"row": "embed", "pictures": number, "pictures_per_second": rate}), flush=True)


def _rated(run: Callable[[], Tensor], device: torch.device) -> _Rate:
    run()  # kernels are chosen in the first pass
    seconds, found = _timed(run, device)
    return len(found) / seconds, found


def _timed(run: Callable[[], T], device: torch.device) -> tuple[float, T]:
    start = time.perf_counter()
    found = run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return round(time.perf_counter() - start, 4), found
