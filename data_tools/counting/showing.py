"""Where boxes come from: a file, a detector, or a sidecar that is there."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data_tools.annotate import Recipe, SidecarOptions, annotate, read_sidecar
from data_tools.counting.boxes import SCHEMA, boxes_of_shard, read_boxes
from data_tools.counting.classes import canonical
from data_tools.counting.detectors import (
    LEAST_SCORE,
    Detector,
    classes_of,
    detect_shard,
    fingerprint,
)
from vlp.data.index import sidecar_path
from vlp.errors import InputError


@dataclass(frozen=True)
class Shown:
    """The sidecar of boxes, and the classes that it may hold; None where it was made by nouns."""

    sidecar: str
    classes: tuple[str, ...] | None


def from_file(path: Path, sidecar: str, shards: Sequence[Path], options: SidecarOptions) -> Shown:
    """Write the boxes of a file as a sidecar.

    Raises:
        InputError: the file cannot be used, or not one sample is in it.
        RunError: shards failed, and are named.
    """
    file = read_boxes(path)
    settings = {"boxes": file.sha256, "classes": file.classes}
    recipe = Recipe(name=sidecar, schema=SCHEMA, settings=settings, what="reading boxes")
    made = annotate(boxes_of_shard, shards, recipe, path, options)
    made.finish()
    print(
        f"{path}: boxes of {made.counts['with boxes']:,} samples, none of "
        f"{made.counts['without']:,}",
        flush=True,
    )
    if made.counts["without"] and not made.counts["with boxes"]:
        raise InputError(
            f"--boxes {path}: not one sample is in it; rows are joined by `key`, or by the name of "
            f"the picture file ({next(iter(file.pictures))!r}, ...) and the `url` of the sample"
        )
    return Shown(sidecar, file.classes)


def from_detector(
    detector: Detector, sidecar: str, shards: Sequence[Path], options: SidecarOptions
) -> Shown:
    """Run a detector and write its boxes as a sidecar.

    Raises:
        InputError: no such detector.
        RunError: shards failed, and are named.
    """
    model = fingerprint(detector.folder)
    classes = None if detector.prompted else classes_of(detector.folder)
    settings = {
        "detector": model,
        "classes": classes,
        "captions": detector.captions,
        "batch": detector.batch,
        "device": detector.device.partition(":")[0],
        "least_score": LEAST_SCORE,
    }
    recipe = Recipe(name=sidecar, schema=SCHEMA, settings=settings, what="detecting objects")
    made = annotate(detect_shard, shards, recipe, detector, options)
    made.finish()
    print(f"{made.counts['pictures']:,} pictures with a counting caption went through the detector")
    return Shown(sidecar, classes)


def from_sidecar(sidecar: str, shards: Sequence[Path]) -> Shown:
    """A sidecar of boxes that is there for every shard, and the labels that occur in it.

    Raises:
        InputError: it is missing, or was made for other nouns.
    """
    classes: set[str] = set()
    for shard in shards:
        table = read_sidecar(shard, sidecar)
        if "labels" not in table.column_names:
            raise InputError(f"--boxes {sidecar}: {sidecar_path(shard, sidecar)} has no labels")
        settings = _settings(sidecar_path(shard, sidecar))
        if "detector" in settings and settings["classes"] is None:
            raise InputError(
                f"--boxes {sidecar}: was made for the nouns of the captions then; give --detector "
                "and --open-vocabulary, which uses what is finished"
            )
        classes.update(settings.get("classes") or ())
        classes.update(canonical(one) for row in table["labels"].to_pylist() for one in row or ())
    return Shown(sidecar, tuple(sorted(classes)))


def _settings(path: Path) -> dict[str, Any]:
    mark = (pq.read_schema(path).metadata or {}).get(b"vlp_recipe")
    return dict(json.loads(mark)) if mark else {}
