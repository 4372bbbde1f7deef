"""Loading an exported folder by transformers, as its users will, and measuring what it gives."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from vlp.encoder import BaseEncoder
from vlp.errors import RunError
from vlp.export import probe
from vlp.interop.huggingface import SIGLIP

_LIBRARY: Any = transformers  # parts of it have no types
_IS_OLD = int(transformers.__version__.partition(".")[0]) < 5
EXACT: dict[str, Any] = {"use_fast": False} if _IS_OLD else {"backend": "pil"}


def check_folder(encoder: BaseEncoder, folder: Path) -> tuple[float, list[str]]:
    """(largest difference of a feature of the same pixels and texts, lines about whole pictures).

    Raises:
        RunError: features differ.
    """
    model = _LIBRARY.AutoModel.from_pretrained(str(folder), local_files_only=True).eval()
    tokenizer = _LIBRARY.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    padding = "max_length" if model.config.model_type == SIGLIP else True
    pixels, texts = probe.pixels(encoder), list(probe.TEXTS)
    tokens = tokenizer(texts, padding=padding, truncation=True, return_tensors="pt")
    with torch.no_grad():
        image = _unit(model.get_image_features(pixel_values=_normalised(encoder, pixels)))
        text = _unit(model.get_text_features(**tokens))
    ours = encoder.encode_text(texts, report_truncated=False)
    largest = max(
        probe.difference(encoder.encode_image(pixels), image, "image features of transformers"),
        probe.difference(ours, text, "text features of transformers"),
    )
    return largest, _whole_pictures(encoder, model, folder)


def _whole_pictures(encoder: BaseEncoder, model: Any, folder: Path) -> list[str]:  # noqa: ANN401
    """How far features of whole pictures are apart, by either of its image processors."""
    side = encoder.image_size[0]
    sizes = [(side, side), (side + 8, side), (side, side + 9), (2 * side + 8, 2 * side)]
    alike = probe.pictures(sizes)
    beside = probe.pictures([(side + 3, side), (side, side + 7)])
    load = _LIBRARY.AutoImageProcessor.from_pretrained
    exact = load(str(folder), local_files_only=True, **EXACT)
    default = load(str(folder), local_files_only=True)

    def apart(pictures: list[Image.Image], processor: Any) -> float:  # noqa: ANN401
        values = processor(pictures, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            found = _unit(model.get_image_features(pixel_values=values))
        return float((found - encoder.encode_image(pictures)).abs().max())

    if not (largest := apart(alike, exact)) <= probe.MOST:
        raise RunError(
            f"pictures through the image processor of transformers give features {largest:.0e} "
            "apart: the export would be wrong, and is not written"
        )
    how = ", ".join(f"{name}={json.dumps(value)}" for name, value in EXACT.items())
    lines = [
        f"whole pictures, by its image processor with {how}: {largest:.0e}; "
        f"by its default one, which rounds otherwise: {apart(alike, default):.0e}"
    ]
    if (shifted := apart(beside, exact)) > probe.MOST:
        lines.append(f"where its image processor crops a pixel beside: {shifted:.0e}")
    return lines


def _normalised(encoder: BaseEncoder, pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(encoder.protocol[name]).view(3, 1, 1) for name in ("mean", "std"))
    return (pixels.float() / 255 - mean) / std


def _unit(found: Any) -> Tensor:  # noqa: ANN401 (transformers 4 gives a tensor, 5 an object)
    return normalize(found if isinstance(found, Tensor) else found.pooler_output, dim=-1)


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' bars, and its warnings of its own defaults: features are compared."""
    logs = _LIBRARY.utils.logging
    shown, level = logs.is_progress_bar_enabled(), logs.get_verbosity()
    logs.disable_progress_bar()
    logs.set_verbosity_error()
    try:
        yield
    finally:
        logs.set_verbosity(level)
        if shown:
            logs.enable_progress_bar()
