"""What a run of open_clip's trainer says of its checkpoints: `params.txt` in the run's folder.

The trainer writes checkpoints to `RUN/checkpoints/epoch_N.pt`, and its options, one a line, to
`RUN/params.txt`. They settle what the shapes of weights leave open: activation and preprocessing.
"""

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip

from vlp.model.build import PREPROCESSING

PARAMS_FILE = "params.txt"


@dataclass(frozen=True)
class RecordedRun:
    """The options that decide how the weights are used."""

    model: str  # an open_clip name
    quick_gelu: bool  # whatever the model's configuration says
    image_size: int | None  # instead of the configuration's
    activation_known: bool
    preprocess_cfg: dict[str, Any] = field(default_factory=dict)


def recorded_run(checkpoint: Path) -> RecordedRun | None:
    """The run that a checkpoint is of; None where there is no record of a model by name."""
    folders = (checkpoint.parent, checkpoint.parent.parent)
    path = next((own / PARAMS_FILE for own in folders if (own / PARAMS_FILE).is_file()), None)
    if path is None:
        return None
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    options = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    model = options.get("model", "").replace("/", "-")
    if model not in open_clip.list_models():
        return None
    pretrained = options.get("pretrained", "")
    forced = options.get("force_quick_gelu") == "True"
    # until version 3 the trainer gave OpenAI's weights their own activation, then the model's
    known = forced or pretrained.lower() != "openai" or model.endswith("quickgelu")
    tag = open_clip.get_pretrained_cfg(model, pretrained) or {}
    sizes = _value(options.get("force_image_size", "None"))
    size = sizes[0] if isinstance(sizes, list) and len(set(sizes)) == 1 else sizes
    stated = {key: _value(options.get(f"image_{key}", "None")) for key in PREPROCESSING}
    preprocess = {key: tag[key] for key in PREPROCESSING if key in tag}
    preprocess |= {key: value for key, value in stated.items() if value is not None}
    return RecordedRun(model, forced, size if isinstance(size, int) else None, known, preprocess)


def _value(text: str) -> Any:  # noqa: ANN401 (numbers, a word or nothing)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text or None
