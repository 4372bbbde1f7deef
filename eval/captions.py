"""The captions that a task uses: those of the data, or the texts of a sidecar in their place."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from eval.datasets import EvalDataset
from eval.datasets.sidecars import read_sidecar
from eval.spec import EvalSpec
from vlp.data.sidecars import COLUMNS, REWRITES
from vlp.model.generate import Generation


@dataclass(frozen=True)
class Captions:
    """Captions of n pictures, and what a result says of where they come from."""

    texts: list[list[str]]  # [n], at least one each
    protocol: dict[str, str] = field(default_factory=dict)


def find_captions(task: str, dataset: EvalDataset, spec: EvalSpec) -> Captions:
    """The captions of every picture.

    Raises:
        ValueError: the data hold none, or the sidecar is missing or has none for a sample.
    """
    if spec.captions is None:
        return Captions(own_captions(task, dataset))
    sidecar = read_sidecar(dataset, spec.captions, COLUMNS[REWRITES])
    texts = [[] if row is None else row.texts() for row in sidecar.rows]
    missing = [key for key, own in zip(dataset.keys, texts, strict=True) if not own]
    if missing:
        raise ValueError(
            f"captions {spec.captions!r}: the sidecar has no text for {len(missing)} of "
            f"{len(texts)} samples, the first: {missing[0]!r} ({sidecar.stale} rows belong to "
            "another source caption)"
        )
    return Captions(texts, {"captions_from": spec.captions, "captions_sha": digest(texts)})


def own_captions(task: str, dataset: EvalDataset) -> list[list[str]]:
    """The captions of the data themselves.

    Raises:
        ValueError: the data hold none.
    """
    if dataset.captions is None:
        raise ValueError(
            f"task {task} needs captions, but data {dataset.path} ({dataset.layout}) holds "
            f"{dataset.holds}"
        )
    return dataset.captions


def generation(spec: EvalSpec, first: int = 0) -> Generation:
    """How captions are written, beginning with the picture `first` of the data set."""
    # far apart, so that no picture has the draws that another one has under another seed
    return Generation(method=spec.caption_method, seed=(spec.seed << 32) + first)


def generation_protocol(spec: EvalSpec) -> dict[str, Any]:
    """What decides the captions that are written; None for what the method does not read."""
    how = generation(spec)
    beam, sampled = how.method == "beam", how.method == "top_p"
    return {
        "caption_method": how.method,
        "max_length": how.max_length,  # None is all of `context_length`
        "beams": how.beams if beam else None,
        "length_penalty": how.length_penalty if beam else None,
        "top_p": how.top_p if sampled else None,
        "temperature": how.temperature if sampled else None,
        "caption_seed": spec.seed if sampled else None,
    }


def digest(value: object) -> str:
    """sha256 of what JSON makes of a value."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
