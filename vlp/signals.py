"""The glossary: every named tensor that passes between data, model, sources and objectives.

Letters: B local batch (this rank), G global batch (all ranks), D embedding, L text tokens,
H and W image height and width.
"""

from typing import TypedDict, cast

from torch import Tensor


class Signals(TypedDict, total=False):
    """What a step knows. Features are float32 and of unit length whatever the precision."""

    # from the data
    pixels: Tensor  # [B, 3, H, W] uint8
    tokens: Tensor  # [B, L] int64, cut at the longest caption where that is exact
    sample_id: Tensor  # [B] int64, the sample's number in the data set, the same in every epoch
    # from the model
    image: Tensor  # [B, D]
    text: Tensor  # [B, D]
    scale: Tensor  # [] inverse temperature, exp(logit_scale)
    # from sources.Gather
    all_image: Tensor  # [G, D], rank by rank
    all_text: Tensor  # [G, D]
    targets: Tensor  # [B] int64, the row of all_image and all_text that is one's own


def as_signals(values: dict[str, Tensor]) -> Signals:
    """A plain mapping of tensors as `Signals`; the only cast of this kind."""
    return cast(Signals, values)
