"""Boxes from a detector of `transformers`: of its own classes, or of the noun of each caption.

Only pictures whose caption counts something are looked at. Every detection from a low score on is
kept, so that other thresholds need no second run.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from data_tools.annotate import Made
from data_tools.counting.boxes import Box, as_row
from data_tools.counting.captions import CaptionChoice, read_captions
from data_tools.counting.classes import canonical
from data_tools.samples import TEXTS, read_samples
from vlp.data.images import UnreadableImageError, decode
from vlp.data.index import IMAGE_EXTENSIONS
from vlp.data.source import RawSample, UnusableSampleError
from vlp.errors import InputError

LEAST_SCORE = 0.1  # of the detections that are kept
_GAP = "N/A"  # COCO's numbers have gaps, which DETR counts as classes


@dataclass(frozen=True, kw_only=True)
class Detector:
    """Which detector, and how it is run.

    Args:
        folder: of the model, as `save_pretrained` writes it.
        prompted: it takes a text and finds what that names: each counted noun.
        captions: which captions are read for numbers.
        batch: pictures at a time.
        device: of torch.
    """

    folder: Path
    prompted: bool
    captions: CaptionChoice
    batch: int
    device: str


def fingerprint(folder: Path) -> str:
    """sha256 of a model's configuration and weights.

    Raises:
        InputError: the folder holds none.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights or not (folder / "config.json").is_file():
        raise InputError(f"--detector {folder}: expected config.json and .safetensors")
    digest = hashlib.sha256()
    for path in [*sorted(folder.glob("*.json")), *weights]:
        with open(path, "rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def classes_of(folder: Path) -> tuple[str, ...]:
    """The labels of a detector with classes of its own.

    Raises:
        InputError: its configuration names none.
    """
    try:
        labels = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("id2label")
    except (ValueError, AttributeError) as error:
        raise InputError(f"--detector {folder}: config.json cannot be read ({error})") from None
    if not labels:
        raise InputError(f"--detector {folder}: no id2label in config.json; give --open-vocabulary")
    return tuple(sorted({canonical(str(label)) for label in labels.values() if label != _GAP}))


def detect_shard(shard: Path, detector: Detector) -> Made:
    """The boxes of every picture of a shard whose caption counts something."""
    counts: Counter[str] = Counter()
    rows: list[Mapping[str, Any]] = []
    wanted = _counting_samples(shard, detector)
    while batch := list(islice(wanted, detector.batch)):
        pictures = [_picture(sample) for sample, _ in batch]
        asked = [
            (place, prompt)
            for place, (_, prompts) in enumerate(batch)
            if pictures[place] is not None
            for prompt in prompts
        ]
        found: list[list[Box]] = [[] for _ in batch]
        images = [image for place, _ in asked if (image := pictures[place]) is not None]
        boxes = _detect(images, [prompt for _, prompt in asked], detector) if asked else []
        for (place, _), own in zip(asked, boxes, strict=True):
            found[place] += own
        for (sample, _), image, own in zip(batch, pictures, found, strict=True):
            counts["unreadable pictures" if image is None else "pictures"] += 1
            rows.append(as_row(sample, None if image is None else own))
    return Made(rows, counts)


def _counting_samples(
    shard: Path, detector: Detector
) -> Iterator[tuple[RawSample, tuple[str, ...]]]:
    """Samples with a claim, and what to ask for: each noun, or once for all classes ("")."""
    for sample in read_samples(shard, (*TEXTS, *IMAGE_EXTENSIONS)):
        try:
            read = read_captions(sample, detector.captions)
        except UnusableSampleError:
            continue  # counted where captions are read for their numbers
        claims = [parsed.claim for _, _, parsed in read if parsed.claim is not None]
        if claims:
            prompts = dict.fromkeys(claim.prompt for claim in claims if claim.prompt)
            yield sample, tuple(prompts) if detector.prompted else ("",)


def _picture(sample: RawSample) -> Image.Image | None:
    try:
        return decode(sample.image).image
    except (UnreadableImageError, UnusableSampleError):
        return None


def _detect(
    images: Sequence[Image.Image], prompts: Sequence[str], detector: Detector
) -> list[list[Box]]:
    """The boxes of each picture; `prompts` are used by a detector that takes them."""
    import torch

    torch.set_num_threads(1)  # so that the bits do not depend on how many cores there are
    processor, model = _load(detector.folder, detector.prompted, detector.device)
    texts: dict[str, Any] = {}
    if detector.prompted:
        texts["text"] = [[_fitting(prompt, processor.tokenizer)] for prompt in prompts]
    if texts and not model.config.model_type.startswith("owl"):  # which pads to CLIP's length
        texts["padding"] = True
    given = processor(images=list(images), return_tensors="pt", **texts).to(detector.device)
    sizes = [(image.height, image.width) for image in images]
    with torch.inference_mode():
        outputs = model(**given)
    if not texts:
        found = processor.post_process_object_detection(
            outputs, threshold=LEAST_SCORE, target_sizes=sizes
        )
        names = [[model.config.id2label[int(i)] for i in one["labels"]] for one in found]
    else:
        read = processor.post_process_grounded_object_detection
        # Grounding DINO reads its labels from the tokens of the text; OWL has one for each text
        tokens = (
            {"input_ids": given["input_ids"]} if "input_ids" in signature(read).parameters else {}
        )
        found = read(outputs, threshold=LEAST_SCORE, target_sizes=sizes, **tokens)
        names = [[prompt] * len(one["scores"]) for one, prompt in zip(found, prompts, strict=True)]
    return [_boxes(one, labels) for one, labels in zip(found, names, strict=True)]


def _fitting(prompt: str, tokenizer: Any) -> str:  # noqa: ANN401 (untyped library)
    """The prompt without its first words where it is too long for the model; the noun stays."""
    words = prompt.split()
    while (
        len(words) > 1 and len(tokenizer(" ".join(words))["input_ids"]) > tokenizer.model_max_length
    ):
        words = words[1:]
    return " ".join(words)


def _boxes(found: Mapping[str, Any], labels: Sequence[str]) -> list[Box]:
    corners, scores = found["boxes"].tolist(), found["scores"].tolist()
    return [
        Box(canonical(label), tuple(own), score)
        for label, own, score in zip(labels, corners, scores, strict=True)
        if label != _GAP
    ]


@cache
def _load(folder: Path, prompted: bool, device: str) -> tuple[Any, Any]:
    import transformers

    from data_tools.rewriting.generation import loading

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    readers: tuple[Any, Any] = (
        transformers.AutoImageProcessor,
        transformers.AutoModelForObjectDetection,
    )
    if prompted:
        readers = transformers.AutoProcessor, transformers.AutoModelForZeroShotObjectDetection
    processor, model = readers
    with loading(f"--detector {folder}"):
        processor = processor.from_pretrained(folder, local_files_only=True)
        model = model.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    return processor, model.to(device).eval()
