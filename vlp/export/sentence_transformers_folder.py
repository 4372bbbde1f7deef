"""A folder for sentence-transformers: `SentenceTransformer(DIR)` encodes pictures and texts.

It is the folder for transformers, with the files that sentence-transformers itself writes beside
it. It loads the image processor that rounds as in training.
"""

import json
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from vlp.data.files import write_json
from vlp.encoder import BaseEncoder
from vlp.errors import InputError
from vlp.export import probe
from vlp.export.probe import Checked
from vlp.export.transformers_check import quiet
from vlp.export.transformers_folder import ROUNDS, write_transformers
from vlp.interop.huggingface import CONFIG_FILE, SIGLIP

_SETTINGS = "sentence_bert_config.json"
_OWN = ("modules.json", "config_sentence_transformers.json", _SETTINGS)
_NORMALIZE = "1_Normalize"


def check_installed() -> None:
    """Refuse to begin without the library.

    Raises:
        InputError: it is not installed, or too old.
    """
    found = find_spec("sentence_transformers")
    if found is None or find_spec("sentence_transformers.base") is None:
        raise InputError(
            "--format sentence-transformers needs sentence-transformers 5.4 or newer: "
            "pip install 'vlp[sentence-transformers]'"
        )


def write_sentence_transformers(encoder: BaseEncoder, folder: Path) -> Checked:
    """Fill a folder, then load it as its users will.

    Raises:
        InputError: transformers has no model of this kind; nothing has been written.
        RunError: what was written gives other features.
    """
    checked = write_transformers(encoder, folder)
    with quiet():
        _add_own_files(folder)
        largest, lines = _check(encoder, folder)
    notes = [note for note in checked.notes if note != ROUNDS]
    return Checked(max(checked.largest, largest), lines, notes)


def _add_own_files(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize

    module = Transformer(str(folder), max_seq_length=None)
    model = SentenceTransformer(modules=[module, Normalize()], device="cpu")
    with tempfile.TemporaryDirectory() as written:
        model.save_pretrained(written)
        for name in _OWN:
            shutil.copyfile(Path(written, name), folder / name)
        shutil.copytree(Path(written, _NORMALIZE), folder / _NORMALIZE)
    settings: dict[str, Any] = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
    settings["processor_kwargs"] = {"backend": "pil"}
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    if config["model_type"] == SIGLIP:  # its towers were trained with texts padded to one length
        settings["processing_kwargs"] = {"text": {"padding": "max_length"}}
    write_json(folder / _SETTINGS, settings)


def _check(encoder: BaseEncoder, folder: Path) -> tuple[float, list[str]]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    side = encoder.image_size[0]
    pictures = probe.pictures([(side, side), (side + 8, side), (side, side + 9)])
    texts = list(probe.TEXTS)
    images = torch.from_numpy(model.encode(pictures, show_progress_bar=False))
    found = torch.from_numpy(model.encode(texts, show_progress_bar=False))
    ours = encoder.encode_text(texts, report_truncated=False)
    name = "of sentence-transformers"
    largest = max(
        probe.difference(encoder.encode_image(pictures), images, f"image features {name}"),
        probe.difference(ours, found, f"text features {name}"),
    )
    beside = probe.pictures([(side + 3, side), (side, side + 7)])
    shifted = torch.from_numpy(model.encode(beside, show_progress_bar=False))
    apart = float((shifted - encoder.encode_image(beside)).abs().max())
    return largest, [f"where it crops a pixel beside: {apart:.0e}"] if apart > probe.MOST else []
