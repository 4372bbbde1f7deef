"""The evaluation's rows of `benchmarks/gpu.py`: what runs on the device, and if it finds the same.

classifier    1,000 ImageNet classes x 80 prompts: open_clip's builder and ours, seconds
ranks         retrieval ranks of 10,000 pictures and 50,000 texts, seconds, equal to the CPU's
probe         one fit of the linear probe on 20,000 x 512 features of 100 classes, seconds
geometry      all geometry metrics of 5,000 pairs, seconds, largest difference from the CPU's
"""

import json
import math
import time
from collections.abc import Callable
from typing import TypeVar

import open_clip
import torch
import torch.nn.functional as F
from open_clip import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES
from torch import Tensor

from eval.encode import encode_texts
from eval.zero_shot import class_weights
from vlp.encoder import Encoder
from vlp.metrics.geometry import geometry_metrics
from vlp.metrics.probe import LabelledFeatures, fit_probe
from vlp.metrics.retrieval import rank_both
from vlp.model.build import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer

T = TypeVar("T")


def measure_evaluation(device: torch.device) -> None:
    """Print the rows; on a CPU with sizes that only try them."""
    small = device.type == "cpu"
    _classifier(device, 4 if small else 1000)
    _ranks(device, 500 if small else 10_000)
    _probe(device, 1000 if small else 20_000)
    _geometry(device, 300 if small else 5000)


def _classifier(device: torch.device, classes: int) -> None:
    names = IMAGENET_CLASSNAMES[:classes]
    model = build_model(ModelConfig(arch="ViT-B-32")).to(device).eval()
    model.trim_exactly()
    tokenizer = build_tokenizer(model.description.model_cfg)
    prompts = [template(name) for name in names for template in OPENAI_IMAGENET_TEMPLATES]
    for precision in ("fp32",) if device.type == "cpu" else ("fp32", "bf16"):
        encoder = Encoder(model, tokenizer, precision=precision)

        def ours(encoder: Encoder = encoder) -> Tensor:
            text = encode_texts(prompts, encoder, batch=1024)
            return class_weights(text, [len(OPENAI_IMAGENET_TEMPLATES)] * classes)

        def theirs(encoder: Encoder = encoder) -> Tensor:
            with torch.no_grad(), encoder._autocast():
                found: Tensor = open_clip.build_zero_shot_classifier(
                    model.clip,
                    open_clip.get_tokenizer("ViT-B-32"),
                    names,
                    OPENAI_IMAGENET_TEMPLATES,
                    device=device,
                )
            return found.T.float()

        seconds, found = _timed(ours, device)
        seconds_theirs, expected = _timed(theirs, device)
        cosine = F.cosine_similarity(found, expected).min()
        row = {"row": "classifier", "precision": precision, "classes": classes}
        row |= {"seconds": seconds, "open_clip_seconds": seconds_theirs}
        print(json.dumps(row | {"lowest_cosine": float(cosine)}))


def _ranks(device: torch.device, pictures: int) -> None:
    generator = torch.Generator().manual_seed(0)
    image = F.normalize(torch.randn(pictures, 512, generator=generator), dim=1)
    owner = torch.arange(pictures).repeat_interleave(5)
    noise = torch.randn(len(owner), 512, generator=generator) / math.sqrt(512)
    text = F.normalize(image[owner] * 0.3 + noise, dim=1)
    seconds, found = _timed(lambda: rank_both(image.to(device), text.to(device), owner), device)
    part = min(pictures, 2000)  # the CPU takes a part of the pictures, all against all their texts
    rows = owner < part
    same = rank_both(image[:part].to(device), text[rows].to(device), owner[rows])
    expected = rank_both(image[:part], text[rows], owner[rows])
    equal = all((a.rank == b.rank).all() for a, b in zip(same, expected, strict=True))
    row = {"row": "ranks", "pictures": pictures, "texts": len(text), "seconds": seconds}
    print(json.dumps(row | {"recall@1": float(found[0].hit(1).mean()), "as_on_cpu": bool(equal)}))


def _probe(device: torch.device, samples: int) -> None:
    generator = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(samples, 512, generator=generator), dim=1).to(device)
    labels = torch.arange(samples) % 100
    train = LabelledFeatures(features=features, labels=labels, classes=100)
    seconds, probe = _timed(lambda: fit_probe(train, 1.0), device)
    row = {"row": "probe", "samples": samples, "seconds": seconds}
    print(json.dumps(row | {"iterations": probe.iterations, "converged": probe.converged}))


def _geometry(device: torch.device, pairs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    image, text = (
        F.normalize(torch.randn(pairs, 512, generator=generator) + shift, dim=1)
        for shift in (0.1, -0.1)
    )
    seconds, found = _timed(lambda: geometry_metrics(image.to(device), text.to(device)), device)
    expected = geometry_metrics(image, text)
    difference = max(abs(found[name] - value) for name, value in expected.items() if value == value)
    print(
        json.dumps({"row": "geometry", "pairs": pairs, "seconds": seconds, "from_cpu": difference})
    )


def _timed(run: Callable[[], T], device: torch.device) -> tuple[float, T]:
    """Seconds of the second call, and what it gave."""
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    found = run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started, found
