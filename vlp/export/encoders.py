"""What an export asks of an encoder, whichever library its towers are of."""

from typing import Any

from vlp.encoder import BaseEncoder, Encoder
from vlp.interop.huggingface import HuggingFaceEncoder


def towers(encoder: BaseEncoder) -> Any:  # noqa: ANN401 (a DualEncoder, or a model of transformers)
    """The module with both towers."""
    assert isinstance(encoder, Encoder | HuggingFaceEncoder)
    return encoder.model


def logit_bias(encoder: BaseEncoder) -> float | None:
    """What a model that was trained with a sigmoid loss adds to its logits (Zhai et al. 2023)."""
    model = towers(encoder)
    bias = getattr(model.clip if isinstance(encoder, Encoder) else model, "logit_bias", None)
    return None if bias is None else float(bias.detach())


def parameters(encoder: BaseEncoder) -> tuple[int, int]:
    """(of the image tower, of all)."""
    named = list(towers(encoder).named_parameters())
    image = sum(p.numel() for name, p in named if "visual" in name or "vision_model" in name)
    return image, sum(p.numel() for _, p in named)
