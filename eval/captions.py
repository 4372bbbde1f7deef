"""The captions that a task uses: those of the data, or the texts of a sidecar in their place."""

import hashlib
import json
from dataclasses import dataclass, field

from eval.datasets import EvalDataset
from eval.datasets.sidecars import read_sidecar
from eval.spec import EvalSpec


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
        if dataset.captions is None:
            raise ValueError(
                f"task {task} needs captions, but data {dataset.path} ({dataset.layout}) holds "
                f"{dataset.holds}"
            )
        return Captions(dataset.captions)
    sidecar = read_sidecar(dataset, spec.captions, ("texts",))
    texts = [[text for text in (row or {}).get("texts") or [] if text] for row in sidecar.rows]
    missing = [key for key, own in zip(dataset.keys, texts, strict=True) if not own]
    if missing:
        raise ValueError(
            f"captions {spec.captions!r}: the sidecar has no text for {len(missing)} of "
            f"{len(texts)} samples, the first: {missing[0]!r} ({sidecar.stale} rows belong to "
            "another source caption)"
        )
    return Captions(texts, {"captions_from": spec.captions, "captions_sha": digest(texts)})


def own_captions(task: str, dataset: EvalDataset, spec: EvalSpec) -> list[list[str]]:
    """The captions of the data, for a task that changes or compares them.

    Raises:
        ValueError: the data hold none, or others were asked for.
    """
    if spec.captions is not None:
        raise ValueError(
            f"captions {spec.captions!r}: task {task} is about the captions of the data themselves"
        )
    return find_captions(task, dataset, spec).texts


def digest(value: object) -> str:
    """sha256 of what JSON makes of a value."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
