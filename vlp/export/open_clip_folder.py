"""A folder for open_clip: `open_clip.create_model_and_transforms("local-dir:DIR")`.

It is the folder that a checkpoint holds as `model/`, so `vlp.load` reads it as well, with the same
fingerprint.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
import torch

from vlp.checkpoint import Card, publish, published_state, read_card
from vlp.data.files import write_json
from vlp.encoder import BaseEncoder, Encoder
from vlp.errors import InputError
from vlp.export import probe
from vlp.export.probe import Checked
from vlp.export.sharing import shared_card
from vlp.published import CAPTIONER_FILE, CARD_FILE

_UNKNOWN: dict[str, Any] = {"weights": "last", "samples_seen": 0, "step": 0, "recipe": {}}


def write_open_clip(encoder: BaseEncoder, folder: Path, card: Card | None) -> Checked:
    """Fill a folder, then load it as its users will.

    Args:
        encoder: with towers of open_clip.
        folder: an existing folder.
        card: of the checkpoint, if it has one.

    Raises:
        InputError: towers of transformers.
        RunError: what was written gives other features.
    """
    if not isinstance(encoder, Encoder):
        raise InputError(
            "open_clip prepares pictures otherwise than a Hugging Face folder does (it crops at "
            "another pixel), so features would differ; formats for this model: transformers, "
            "sentence-transformers, onnx"
        )
    model = encoder.model
    publish(folder, published_state(model), model.description, encoder.tokenizer, _UNKNOWN)
    if card := card or read_card(folder):
        write_json(folder / CARD_FILE, asdict(shared_card(card)))
    return _check(encoder, folder)


def _check(encoder: Encoder, folder: Path) -> Checked:
    model, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    side = max(encoder.image_size)
    pictures = probe.pictures([(side, side), (side + 3, side), (side, 2 * side), (50, 41)])
    texts = list(probe.TEXTS)
    with torch.no_grad():
        values = torch.stack([prepare(picture) for picture in pictures])
        image = model.encode_image(values, normalize=True)
        text = model.encode_text(tokenizer(texts), normalize=True)
    ours = encoder.encode_text(texts, report_truncated=False)
    largest = max(
        probe.difference(encoder.encode_image(pictures), image, "image features of open_clip"),
        probe.difference(ours, text, "text features of open_clip"),
    )
    notes = []
    if encoder.model.captioner is not None:
        notes.append(f"open_clip does not read {CAPTIONER_FILE}, the captioning decoder; vlp does")
    return Checked(largest, [], notes)
