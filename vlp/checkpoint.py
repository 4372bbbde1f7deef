"""Publishing a model: the folder that open_clip loads as it is, with a card beside it."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from vlp.data.files import write_json
from vlp.model.tokens import Tokenizer
from vlp.model.towers import Description, DualEncoder
from vlp.published import CAPTIONER_FILE, CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, fingerprint

_HEAD = "captioner."
VERSIONS_OF = ("vlp", "torch", "open_clip_torch", "timm", "transformers", "accelerate")


@dataclass(frozen=True, kw_only=True)
class Card:
    """`vlp.json`: what the weights do not say."""

    name: str  # the architecture's name
    fingerprint: str
    act: str
    weights: str  # "last" or "ema"
    samples_seen: int
    step: int
    captioner: dict[str, int] | None = None  # of a decoder in a file of its own
    recipe: dict[str, Any] = field(default_factory=dict)  # the resolved configuration of the run
    versions: dict[str, str] = field(default_factory=dict)

    def check(self, actual: str) -> None:
        """Refuse weights that are not the ones of this card."""
        if self.fingerprint != actual:
            raise ValueError(
                f"the weights of {self.name} have fingerprint {actual[:12]}, "
                f"but its {CARD_FILE} says {self.fingerprint[:12]}: they do not belong together"
            )


def read_card(folder: Path) -> Card | None:
    """The card of a model folder, or None where there is none (a folder that is not ours).

    Raises:
        ValueError: a card that cannot be read.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        return None
    try:
        return Card(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no readable card: {error}") from error


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in VERSIONS_OF}}


def published_state(model: DualEncoder) -> dict[str, Tensor]:
    """What `publish` writes of a model."""
    state: dict[str, Tensor] = dict(model.clip.state_dict())
    if model.captioner is not None:
        state |= {f"{_HEAD}{name}": v for name, v in model.captioner.state_dict().items()}
    return state


def publish(
    folder: Path,
    state: Mapping[str, Tensor],
    description: Description,
    tokenizer: Tokenizer,
    facts: Mapping[str, Any],
) -> str:
    """Write a model folder; the caller makes it visible by renaming. Returns the fingerprint.

    Args:
        folder: an existing folder.
        state: the model's state, on any device: the open_clip model's names as they are, those of
            a captioning decoder of its own with the prefix `captioner.`.
        description: its configuration and preprocessing.
        tokenizer: its tokenizer.
        facts: `weights`, `samples_seen`, `step` and `recipe` of the card.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    head = {n.removeprefix(_HEAD): v for n, v in tensors.items() if n.startswith(_HEAD)}
    clip = {name: value for name, value in tensors.items() if not name.startswith(_HEAD)}
    mark = fingerprint(tensors, description.model_cfg)
    save_file(clip, folder / WEIGHTS_FILE)
    if head:
        save_file(head, folder / CAPTIONER_FILE)
    config = {"model_cfg": description.model_cfg, "preprocess_cfg": description.preprocess_cfg}
    write_json(folder / CONFIG_FILE, config)
    tokenizer.save(folder)
    card = Card(
        name=description.name,
        fingerprint=mark,
        act=description.act,
        captioner=description.captioner,
        versions=versions(),
        **facts,
    )
    write_json(folder / CARD_FILE, asdict(card))
    return mark
