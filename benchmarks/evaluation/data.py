"""What both sides read: pictures with labels and captions, prompts, and random weights.

The tars exist once. CLIP_benchmark has a folder a task (`dataset_type.txt` says which), in which
links lead to them; ours has one folder with an index, from which both tasks read.
"""

import io
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from open_clip import (
    IMAGENET_CLASSNAMES,
    OPENAI_IMAGENET_TEMPLATES,
    SIMPLE_IMAGENET_TEMPLATES,
)
from open_clip.model import CLIP
from open_clip.transformer import VisionTransformer
from PIL import Image

from eval.datasets import open_dataset
from vlp.checkpoint import publish, published_state
from vlp.data.index import write_index
from vlp.data.tar import write_tar
from vlp.data.transforms import Preprocess
from vlp.model.build import ModelConfig, build_model
from vlp.model.tokens import Tokenizer, build_tokenizer

CLASSES, CAPTIONS, SIDE, SHARDS = 10, 5, 256, 4
FIRST = [template("{c}") for template in OPENAI_IMAGENET_TEMPLATES]
SECOND = [template("{c}") for template in SIMPLE_IMAGENET_TEMPLATES]
CLASSIFICATION, RETRIEVAL = "classification", "retrieval"
_THINGS = [
    "dog",
    "cat",
    "horse",
    "bird",
    "child",
    "man",
    "woman",
    "car",
    "boat",
    "train",
    "tree",
    "house",
    "ball",
    "bench",
    "kite",
    "bus",
]
_KINDS = [
    "small",
    "large",
    "red",
    "blue",
    "green",
    "old",
    "young",
    "wet",
    "brown",
    "white",
    "black",
    "yellow",
    "striped",
    "tired",
]
_DOES = [
    "runs past",
    "stands near",
    "jumps over",
    "sits beside",
    "looks at",
    "waits behind",
    "moves towards",
]
_PLACES = [
    "on the beach",
    "in the snow",
    "at night",
    "in a park",
    "by the river",
    "under a bridge",
    "indoors",
]

Sample = tuple[Image.Image, int, list[str]]  # picture, label, captions


@dataclass(frozen=True)
class Data:
    """Where everything lies."""

    folder: Path

    @property
    def shards(self) -> Path:
        """In our own layout."""
        return self.folder / "shards"

    def of_task(self, kind: str) -> Path:
        """In CLIP_benchmark's layout, of the type `CLASSIFICATION` or `RETRIEVAL`."""
        return self.folder / kind

    @property
    def second_prompts(self) -> Path:
        """Further templates, one a line."""
        return self.folder / "second.txt"

    @property
    def second_prompts_json(self) -> Path:
        """The same as CLIP_benchmark takes them: {data set: templates}."""
        return self.folder / "second.json"


def write_data(folder: Path, images: int, source: str | None) -> Data:
    """Write the data set in both layouts.

    Args:
        folder: an empty folder.
        images: how many pictures.
        source: a data set with captions to take them from; made when not given.
    """
    data = Data(folder)
    samples = list(_encoded(_made(images) if source is None else _taken(source, images)))
    shards = data.shards / "test"
    shards.mkdir(parents=True)
    for number in range(SHARDS):
        path = shards / f"{number:05d}.tar"
        part = slice(number * len(samples) // SHARDS, (number + 1) * len(samples) // SHARDS)
        write_tar(path, samples[part])
        write_index(path)
    for kind in (CLASSIFICATION, RETRIEVAL):
        _link(data.of_task(kind), shards)
        (data.of_task(kind) / "dataset_type.txt").write_text(kind)
    for root in (data.shards, data.of_task(CLASSIFICATION)):
        (root / "classnames.txt").write_text("\n".join(IMAGENET_CLASSNAMES[:CLASSES]))
        (root / "zeroshot_classification_templates.txt").write_text("\n".join(FIRST))
    data.second_prompts.write_text("\n".join(SECOND))
    data.second_prompts_json.write_text(json.dumps({CLASSIFICATION: SECOND}))
    return data


def write_weights(folder: Path, arch: str) -> Path:
    """A model folder with random weights, which open_clip loads as well.

    Raises:
        ValueError: no ViT with CLIP's text tower.
    """
    torch.manual_seed(0)
    model = build_model(ModelConfig(arch=arch))
    tokenizer = build_tokenizer(model.description.model_cfg)
    if not isinstance(model.clip, CLIP) or not isinstance(model.clip.visual, VisionTransformer):
        raise ValueError(f"arch {arch!r}: expected a ViT of open_clip with CLIP's text tower")
    _centre(model.clip, Preprocess(model.description.preprocess_cfg), tokenizer)
    facts = {"weights": "last", "samples_seen": 0, "step": 0, "recipe": {}}
    folder.mkdir(parents=True)
    publish(folder, published_state(model), model.description, tokenizer, facts)
    return folder


@torch.no_grad()
def _centre(clip: CLIP, preprocess: Preprocess, tokenizer: Tokenizer) -> None:
    """Shift the features to a mean of zero.

    Random towers give all pictures nearly the same feature, so that all would get the same class,
    and equal metrics would say little.
    """
    images, _, captions = zip(*_made(64, seed=1), strict=True)
    pixels = torch.stack([preprocess(image) for image in images]) / 127.5 - 1
    texts = [*(text for own in captions for text in own), *IMAGENET_CLASSNAMES[:CLASSES]]
    visual = clip.visual
    for norm, projection, features in (
        (visual.ln_post, visual.proj, clip.encode_image(pixels)),
        (clip.ln_final, clip.text_projection, clip.encode_text(tokenizer(texts))),
    ):
        # the layer before the projection has a bias, the projection has none
        shift = torch.linalg.lstsq(projection.T.double(), -features.mean(0).double()[:, None])
        norm.bias += shift.solution[:, 0].float()


def _link(root: Path, shards: Path) -> None:
    """A split of CLIP_benchmark's layout."""
    (root / "test").mkdir(parents=True)
    (root / "test" / "nshards.txt").write_text(str(SHARDS))
    for number in range(SHARDS):
        (root / "test" / f"{number}.tar").symlink_to(shards / f"{number:05d}.tar")


def _encoded(samples: Iterator[Sample]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """As members of a tar: the captions as CLIP_benchmark reads them, and as ours does."""
    for position, (image, label, captions) in enumerate(samples):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=90)
        members = {
            "jpg": file.getvalue(),
            "cls": str(label).encode(),
            "txt": "\n".join(captions).encode(),
            "json": json.dumps({"captions": captions}).encode(),
        }
        yield f"s{position:07d}", members


def _made(images: int, seed: int = 0) -> Iterator[Sample]:
    """Smooth random pictures, and captions of which no two are the same: those would tie."""
    numbers, words, seen = np.random.default_rng(seed), random.Random(seed), set[str]()
    for position in range(images):
        coarse = numbers.integers(0, 256, (8, 10, 3), dtype=np.uint8)
        fine = numbers.integers(0, 256, (SIDE, SIDE * 5 // 4, 3), dtype=np.uint8)
        size = (SIDE * 5 // 4, SIDE)
        smooth = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        image = Image.blend(smooth, Image.fromarray(fine), 0.1)
        captions: list[str] = []
        while len(captions) < CAPTIONS:
            caption = _caption(words)
            if caption not in seen:
                captions.append(caption)
                seen.add(caption)
        yield image, position % CLASSES, captions


def _caption(words: random.Random) -> str:
    """5 to 13 words."""
    one, other = words.choice(_THINGS), words.choice(_THINGS)
    kinds = " ".join(words.sample(_KINDS, words.randint(0, 3)))
    text = f"a {kinds} {one} {words.choice(_DOES)} the {words.choice(_KINDS)} {other}"
    if words.random() < 0.5:
        text = f"{text} {words.choice(_PLACES)}"
    return " ".join(text.split())


def _taken(source: str, images: int) -> Iterator[Sample]:
    """The first pictures of a data set; labels in turn, since it need not have any."""
    dataset = open_dataset(source)
    if dataset.captions is None:
        raise ValueError(f"data {source}: it holds {dataset.holds}, and captions are needed")
    if len(dataset) < images:
        raise ValueError(f"data {source}: {len(dataset)} pictures, and {images} are asked for")
    for position in range(images):
        image = dataset.item(position)[1]
        # a line of its own is what a caption is in CLIP_benchmark's files
        captions = [" ".join(text.split()) for text in dataset.captions[position]]
        yield image, position % CLASSES, captions
