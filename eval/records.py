"""What a record says of itself: which checkpoint it is of, and what its numbers depend on."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]
_CHECKPOINTS = "/checkpoints/"
# of the protocol what does not decide the number: the data and the prompts have a fingerprint, so
# where they lie does not matter. `seed` is that of the intervals: a task whose number it decides
# too says so under a name of its own, `held_out_seed`, `caption_seed`
_UNDECIDING = ("data", "templates_from", "classnames_from", "seed", "batch", "unread_options")
# what differs between checkpoints of one run: learned, or chosen for the weights by a search
_LEARNED = ("logit_scale", "c", "gda_alpha", "tip_alpha", "tip_beta")
# what a model brings along: two models are compared each with its own
_OF_THE_MODEL = (
    "image_size",
    "interp",
    "resize_mode",
    "resize",
    "mean",
    "std",
    "lower_case",
    "context_length",
    "tokenizer_sha",
)


def checkpoint_id(record: Record) -> str:
    """The fingerprint of the weights, or what stands for it where there is none."""
    checkpoint = record["checkpoint"]
    if checkpoint.get("sha256"):
        return str(checkpoint["sha256"])
    names = (record.get("model"), record.get("pretrained"), checkpoint.get("path"))
    return f"{names} {samples_seen(record)}"


def checkpoint_name(record: Record) -> str:
    """A checkpoint as people name it: its run and step, its path, or model and weights."""
    run = run_of(record)
    step = record["checkpoint"].get("step")
    return f"{run}, step {step:,}" if isinstance(step, int) else run


def run_of(record: Record) -> str:
    """The run that a checkpoint belongs to, or where a model that is none of ours came from."""
    path = record["checkpoint"].get("path")
    if not path:
        return f"{record.get('model')} {record.get('pretrained')}"
    return str(path).partition(_CHECKPOINTS)[0]


def pretrained_tag(record: Record) -> str:
    """The tag of open_clip, which loads `MODEL/TAG`."""
    return str(record.get("pretrained")).removeprefix(f"{record.get('model')}/")


def title_of(record: Record) -> str:
    """Data set, split and task, and the language where it is not English."""
    return " / ".join([*_data(record), record["task"], *_language(record)])


def data_of(record: Record) -> str:
    """The same without the task."""
    return " / ".join([*_data(record), *_language(record)])


def samples_seen(record: Record) -> int | None:
    """How many samples a checkpoint had been trained on."""
    found: int | None = record["checkpoint"].get("samples_seen")
    return found


def curve_protocol(record: Record) -> str:
    """sha256 of what must be equal for two numbers to be points of one curve."""
    return _digest(_without(record, (*_UNDECIDING, *_LEARNED)))


def compared_protocol(record: Record) -> dict[str, Any]:
    """What must be equal for the numbers of two models to be compared."""
    kept = _without(record, (*_UNDECIDING, *_LEARNED, *_OF_THE_MODEL))
    return {key: value for key, value in kept.items() if value is not None}


def compared_digest(record: Record) -> str:
    """sha256 of `compared_protocol`."""
    return _digest(compared_protocol(record))


def names_of(record: Record) -> list[str]:
    """All that a checkpoint may be asked for by, besides its fingerprint and parts of its path."""
    model, pretrained = str(record.get("model")), str(record.get("pretrained"))
    step = record["checkpoint"].get("step")
    found = [model, Path(model).stem, pretrained, f"{model}/{pretrained}", checkpoint_name(record)]
    return [
        *found,
        pretrained_tag(record),
        *([f"step-{step:09d}"] if isinstance(step, int) else []),
    ]


def _data(record: Record) -> list[str]:
    return [str(part) for part in (record["dataset"], record["split"]) if part]


def _language(record: Record) -> list[str]:
    language = record.get("language", "en")
    return [] if language == "en" else [str(language)]


def _without(record: Record, names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in record.get("protocol", {}).items() if key not in names}


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
