"""Teachers of a run: a trained model, or a copy that follows the one in training."""

import json
from pathlib import Path

from accelerate import Accelerator

from training.config import TeacherConfig
from vlp.encoder import Encoder
from vlp.loading import load
from vlp.model import DualEncoder
from vlp.model.build import read_arch
from vlp.model.tokens import Tokenizer
from vlp.published import CONFIG_FILE, find_published
from vlp.sources import Momentum, Teacher

_PROBE = ["a photo of two dogs, one on the left", "Zürich, 7.30 - it's raining!"]


def build_teacher(
    name: str,
    config: TeacherConfig,
    model: DualEncoder,
    tokenizer: Tokenizer,
    accelerator: Accelerator,
) -> Momentum | Teacher:
    """The source that gives a teacher's features.

    Raises:
        ValueError: the teacher reads tokens in another way than the model.
    """
    if config.weights is None:
        assert config.momentum is not None
        return Momentum(name, model, decay=config.momentum, autocast=accelerator.autocast)
    try:
        encoder = load(config.weights, device=accelerator.device)
    except (ValueError, OSError) as error:
        raise ValueError(f"teachers.{name}.weights: {error}") from error
    if not isinstance(encoder, Encoder):
        raise ValueError(
            f"teachers.{name}.weights: {config.weights} is a Hugging Face folder, which "
            "cannot read the model's tokens; store its features in a sidecar instead"
        )
    length = min(tokenizer.context_length, encoder.tokenizer.context_length)
    ours, theirs = (t(_PROBE)[:, :length] for t in (tokenizer, encoder.tokenizer))
    shorter = encoder.tokenizer.context_length < tokenizer.context_length
    if shorter or not ours.equal(theirs):
        raise ValueError(
            f"teachers.{name}: {config.weights} has another tokenizer than the model or a shorter "
            f"context ({encoder.tokenizer.context_length} and {tokenizer.context_length} tokens), "
            "so it cannot read the model's tokens; store its features in a sidecar instead"
        )
    teacher = encoder.model.requires_grad_(False)
    return Teacher(
        name,
        teacher,
        context_length=encoder.tokenizer.context_length,
        pad_id=tokenizer.pad_id,
        autocast=accelerator.autocast,
        fingerprint=encoder.fingerprint,
    )


def width_of(weights: str) -> int:
    """The width of a teacher's features, without loading it.

    Raises:
        ValueError: there is no such model.
    """
    path = Path(weights).expanduser()
    try:
        if not path.is_dir():
            return int(read_arch(weights.partition("/")[0])[0]["embed_dim"])
        config = json.loads((find_published(path) / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"teachers: weights {weights} is no folder and no model: {error}"
        ) from error
    return int(config["model_cfg"]["embed_dim"])
