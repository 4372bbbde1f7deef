"""What people share: a folder in open_clip's local-dir format plus `vlp.json`.

`open_clip_config.json`, `open_clip_model.safetensors` (and tokenizer files where the tokenizer is
not open_clip's own) load in open_clip as they are; `vlp.json` adds what the weights do not say:
fingerprint, activation, preprocessing, tokenizer, recipe, versions.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
PICKLED_FILE = "open_clip_pytorch_model.bin"  # in folders of open_clip's without safetensors
CARD_FILE = "vlp.json"
CAPTIONER_FILE = "vlp_captioner.safetensors"  # a decoder that open_clip's format has no place for
COMPLETE_FILE = "complete.json"  # written last into a checkpoint: it lists what belongs to it


def find_published(path: Path) -> Path:
    """The model folder that a run, a checkpoint or a model folder means; of a run the newest.

    Raises:
        FileNotFoundError: there is none; the message says where it was looked for.
    """
    if (path / CONFIG_FILE).is_file():
        return path
    if (path / "model" / CONFIG_FILE).is_file():
        return path / "model"
    steps = sorted(path.glob("checkpoints/step-*/model"), reverse=True)
    for step in steps:
        if (step.parent / COMPLETE_FILE).is_file():
            return step
    raise FileNotFoundError(
        f"{path} is no model folder ({CONFIG_FILE}), no checkpoint (model/) "
        "and no run with a complete checkpoint (checkpoints/step-*/model)"
    )


def fingerprint(state: Mapping[str, Tensor], model_cfg: Mapping[str, Any]) -> str:
    """sha256 over every tensor (name, dtype, shape, bytes) and the model configuration."""
    digest = hashlib.sha256(json.dumps(model_cfg, sort_keys=True).encode())
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy().data if value.numel() else b"")
    return digest.hexdigest()
